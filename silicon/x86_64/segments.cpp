// Segments: addresses through them, loading them, and the modes that follow from them.
// Intel SDM vol. 3, "Protected-Mode Memory Management", "Protection".
#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/descriptors.h"

namespace silicon::x86 {

Linear Cpu::general_linear(const Insn& in, unsigned size_bytes, Access access) {
    return segment_linear(in.seg, offset_of(in), size_bytes, access);
}

Linear Cpu::segment_linear_quiet(Seg which, u64 offset, unsigned size_bytes, Access access) const {
    const Segment& s = at(which);
    if (in_long64()) return {offset + (which == Seg::Fs || which == Seg::Gs ? s.base : 0), true};
    const bool code = s.rights & ar::code;
    if (in_protected() && !(mode & mode::virtual8086)) {
        const bool allowed = access == Access::Write ? !code && s.rights & ar::writable : !code || s.rights & ar::readable;
        if (s.rights & ar::unusable || !allowed) return {0, false};
    }
    return {u32(s.base + offset), covers(s, offset, size_bytes)};
}

Linear Cpu::segment_linear(Seg which, u64 offset, unsigned size_bytes, Access access) {
    const Linear linear = segment_linear_quiet(which, offset, size_bytes, access);
    if (!linear.ok) raise(which == Seg::Ss ? vector_ss : vector_gp, 0);
    return linear;
}

void Cpu::update_tlb_context() {
    auto context = TlbContext::Supervisor;
    if (cpl == 3)
        context = cr0 & cr0::am && rflags & flag::ac ? TlbContext::UserAligned : TlbContext::User;
    else if (cr4 & cr4::smap && !(rflags & flag::ac))
        context = TlbContext::SupervisorSmap;
    tlb_table_ = &tlbs_[static_cast<unsigned>(context)];
    tlb = tlb_table_->data();
}

static bool is_flat(const Segment& s, bool writable) {
    return s.base == 0 && s.limit == 0xffffffff && !(s.rights & ar::unusable) &&
           (!writable || (s.rights & (ar::code | ar::writable | ar::expand_down)) == ar::writable);
}

void Cpu::update_mode() {
    const Segment &cs = at(Seg::Cs), &ss = at(Seg::Ss);
    u32 m = 0;
    if (cr0 & cr0::pe) m |= mode::protected_;
    if (rflags & flag::vm) m |= mode::virtual8086;
    if (efer & efer::lma && cs.rights & ar::l)
        m |= mode::long64;
    else if (cs.rights & ar::db)
        m |= mode::code32;
    if (ss.rights & ar::db) m |= mode::stack32;
    const bool flat = is_flat(cs, false) && is_flat(ss, true) && is_flat(at(Seg::Ds), true) && is_flat(at(Seg::Es), true);
    if (!(m & mode::long64) && m & mode::protected_ && flat) m |= mode::flat;
    if (cr0 & (cr0::em | cr0::ts)) m |= mode::no_x87 | mode::no_sse;
    if (!(cr4 & cr4::osfxsr)) m |= mode::no_sse;
    mode = m;
    cpl = !(m & mode::protected_) ? 0 : m & mode::virtual8086 ? 3 : u8(ar::dpl(ss.rights));
    code_base_ = m & mode::long64 ? 0 : cs.base;
    update_tlb_context();
    update_stamp();
}

bool Cpu::has_descriptors() {
    if (in_protected() && !(mode & mode::virtual8086)) return true;
    raise(vector_ud);
    return false;
}

std::optional<u64> Cpu::descriptor_place(u16 selector) const {
    const bool local = selector & 4;
    const Segment& ldt = at(Seg::Ldtr);
    const bool absent = local ? ldt.rights & ar::unusable : !(selector & 0xfffc);
    if (absent || (selector | 7u) > (local ? ldt.limit : gdtr.limit)) return std::nullopt;
    return (local ? ldt.base : gdtr.base) + (selector & 0xfff8);
}

// The descriptor of a selector that is not null, or a fault. `place` is where it lies.
bool Cpu::read_descriptor(u16 selector, Vector vector, Descriptor& d, u64& place) {
    const auto found = descriptor_place(selector);
    if (!found) {
        raise(vector, selector & 0xfffc);
        return false;
    }
    place = *found;
    const auto loaded = system_load<u64>(place);
    d.bits = loaded.value;
    return loaded.ok;
}

bool Cpu::mark_accessed(Descriptor& d, u64 place) {
    if (d.rights() & ar::accessed) return true;
    d.bits |= u64{ar::accessed} << 40;
    return system_store<u8>(place + 5, u8(d.bits >> 40));
}

bool Cpu::load_null(Seg which, u16 selector) {
    if (which == Seg::Ss && !(in_long64() && cpl < 3 && (selector & 3) == cpl)) {
        raise(vector_gp, 0);
        return false;
    }
    Segment& s = at(which);
    s.selector = selector;
    s.rights = ar::unusable | (which == Seg::Ss ? u32{cpl} << ar::dpl_shift : 0);
    if (!in_long64()) s.base = s.limit = 0;
    return true;
}

// Intel SDM vol. 3, "Checks on Guest Segment Registers": what a segment looks like in virtual-8086 mode.
void Cpu::set_virtual8086(Seg which, u16 selector) {
    if (which == Seg::Cs && at(which).limit != 0xffff) blocks_.forget_jumps();
    at(which) = Segment{u64{selector} << 4, 0xffff, 0xf3, selector};
}

bool Cpu::load_segment(Seg which, u16 selector) {
    Segment& s = at(which);
    if (mode & mode::virtual8086) {
        set_virtual8086(which, selector);
        return true;
    }
    if (!in_protected()) {
        s.selector = selector;
        s.base = u64{selector} << 4;
        s.rights = (s.rights & ~(ar::unusable | ar::code)) | ar::present | ar::s | ar::writable | ar::accessed;
        return true;
    }
    if (!(selector & 0xfffc)) {
        if (!load_null(which, selector)) return false;
    } else {
        Descriptor d;
        u64 place = 0;
        if (!read_descriptor(selector, vector_gp, d, place)) return false;
        const unsigned rpl = selector & 3;
        const bool fits = which == Seg::Ss ? d.is_writable_data() && rpl == cpl && d.dpl() == cpl
                                           : d.is_readable() && (d.is_conforming() || (rpl <= d.dpl() && cpl <= d.dpl()));
        if (!fits || !d.present()) {
            raise(!fits ? vector_gp : which == Seg::Ss ? vector_ss : vector_np, selector & 0xfffc);
            return false;
        }
        if (!mark_accessed(d, place)) return false;
        s = d.segment(selector);
    }
    update_mode_if_needed();
    return true;
}

// The local descriptor table and the task-state segment: system descriptors of the GDT, 16 bytes long in long mode.
bool Cpu::load_system_segment(Seg which, u16 selector) {
    const bool is_task = which == Seg::Tr;
    if (!(selector & 0xfffc)) {
        if (!is_task) at(which) = Segment{0, 0, ar::unusable, selector};
        if (is_task) raise(vector_gp, 0);
        return !is_task;
    }
    Descriptor d;
    u64 place = 0;
    const bool long_mode = efer & efer::lma;
    if (long_mode && (selector & 0xfff8u) + 15 > gdtr.limit) {  // before any of it is read
        raise(vector_gp, selector & 0xfffc);
        return false;
    }
    if (!read_descriptor(selector, vector_gp, d, place)) return false;
    const bool fits = d.is_system() && (is_task ? d.type() == 9 || (d.type() == 1 && !long_mode) : d.type() == 2) && !(selector & 4);
    if (!fits || !d.present()) {
        raise(fits ? vector_np : vector_gp, selector & 0xfffc);
        return false;
    }
    Segment s = d.segment(selector);
    if (long_mode) {
        const auto high = system_load<u64>(place + 8);
        if (!high.ok) return false;
        s.base |= high.value << 32;
        const bool canonical = canonical_base(s.base);
        if (high.value >> 40 & 0x1f || !canonical) {
            raise(vector_gp, canonical ? selector & 0xfffc : 0);
            return false;
        }
    }
    if (is_task) {  // busy
        s.rights |= 2;
        if (!system_store<u8>(place + 5, u8(d.bits >> 40 | 2))) return false;
    }
    at(which) = s;
    return true;
}

// A block of the running mode cannot go on when flatness or the stack's width has changed: an event makes the
// dispatcher look again, handlers that load segments end their block.
void Cpu::update_mode_if_needed() {
    const u32 single = mode & mode::single;
    update_mode();
    mode |= single;
    update_stamp();
}

void Cpu::set_code_segment(const Segment& cs, unsigned new_cpl) {
    if (cs.limit != at(Seg::Cs).limit) blocks_.forget_jumps();
    at(Seg::Cs) = cs;
    at(Seg::Cs).selector = u16((cs.selector & ~3u) | new_cpl);
    update_mode_if_needed();
}

void Cpu::enter_flat(const Segment& cs, const Segment& ss) {
    at(Seg::Ss) = ss;
    set_code_segment(cs, ar::dpl(cs.rights));
    request_event();
}

bool Cpu::fits_code(u64 target, const Segment& cs) {
    const bool long_code = efer & efer::lma && cs.rights & ar::l;
    const bool good = long_code ? canonical(target) : target <= cs.limit;
    if (!good) raise(vector_gp, 0);
    return good;
}

Outcome Cpu::jump_checked(u64 target) {
    // A 32-bit target of 16-bit code is checked whole, not wrapped.
    if (in_long64() ? !canonical(target) : u32(target) > at(Seg::Cs).limit) return raise(vector_gp, 0);
    rip = target & code_mask();
    return Outcome::Next;
}

void Cpu::set_rflags(u64 value, u64 changeable) {
    lazy = LazyFlags::of_bits((value & changeable & flag::arithmetic) | (lazy.bits() & ~changeable));
    const u64 system = changeable & ~flag::arithmetic;
    const u64 before = rflags;
    rflags = (rflags & ~system) | (value & system) | flag::always;
    if ((before ^ rflags) & flag::vm)
        update_mode_if_needed();
    else if ((before ^ rflags) & flag::ac)
        update_tlb_context();
    if (rflags & (flag::tf | flag::intf)) request_event();
}

}  // namespace silicon::x86
