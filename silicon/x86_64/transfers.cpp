// Far jumps, calls and returns. Intel SDM vol. 2, "JMP", "CALL", "RET", "IRET"; vol. 3, "Privilege Levels".
// Within and to outer levels; gates and task switches are #GP of their selector so far.
#include <algorithm>

#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/descriptors.h"

namespace silicon::x86 {
namespace {

// The flags that POPF and IRET may change at a privilege level.
u64 changeable_flags(const Cpu& cpu, unsigned operand_bytes) {
    u64 flags = flag::arithmetic | flag::tf | flag::df | flag::nt;
    if (operand_bytes > 2) flags |= flag::rf | flag::ac | flag::id;
    if (cpu.cpl <= (cpu.rflags & flag::iopl) >> 12) flags |= flag::intf;
    if (cpu.cpl == 0) flags |= flag::iopl;
    return flags;
}

}  // namespace

u64 flags_for_pop(const Cpu& cpu, unsigned operand_bytes) { return changeable_flags(cpu, operand_bytes); }

Outcome Cpu::stack_fault() {
    if (fault_.pending && fault_.not_canonical) fault_.vector = vector_ss;
    return Outcome::Stop;
}

Loaded<u64> Cpu::stack_load(u64 above_top, unsigned size_bytes) {
    const Linear from = segment_linear(Seg::Ss, (gpr[rsp] + above_top) & stack_mask(), size_bytes, Access::Read);
    if (!from.ok) return {0, false};
    switch (size_bytes) {
        case 2: {
            const auto v = load<u16>(from.value);
            if (!v.ok) [[unlikely]] stack_fault();
            return {v.value, v.ok};
        }
        case 4: {
            const auto v = load<u32>(from.value);
            return {v.value, v.ok};
        }
        default: {
            const auto v = load<u64>(from.value);
            if (!v.ok) [[unlikely]] stack_fault();
            return v;
        }
    }
}

Outcome Cpu::stack_store(u64 below_top, u64 value, unsigned size_bytes) {
    const Linear to = segment_linear(Seg::Ss, (gpr[rsp] - below_top) & stack_mask(), size_bytes, Access::Write);
    if (!to.ok) return Outcome::Stop;
    switch (size_bytes) {
        case 2: {
            const Outcome out = store<u16>(to.value, u16(value));
            return out == Outcome::Stop ? stack_fault() : out;
        }
        case 4: return store<u32>(to.value, u32(value));
        default: {
            const Outcome out = store<u64>(to.value, value);
            return out == Outcome::Stop ? stack_fault() : out;
        }
    }
}

// The code segment a far jump or call goes to, at the present level.
bool Cpu::code_descriptor(u16 selector, Descriptor& d) {
    const u16 error = selector & 0xfffc;
    if (!error) {
        raise(vector_gp, 0);
        return false;
    }
    u64 place = 0;
    if (!read_descriptor(selector, vector_gp, d, place)) return false;
    const unsigned rpl = selector & 3;
    const bool fits = d.is_code() && (d.is_conforming() ? d.dpl() <= cpl : rpl <= cpl && d.dpl() == cpl);
    const bool both_sizes = efer & efer::lma && d.rights() & ar::l && d.rights() & ar::db;
    if (!fits || both_sizes || !d.present()) {
        raise(fits && !both_sizes ? vector_np : vector_gp, error);
        return false;
    }
    return mark_accessed(d, place);
}

Outcome Cpu::far_jump(u16 selector, u64 target, unsigned operand_bytes) {
    target &= operand_bytes == 2 ? 0xffff : operand_bytes == 4 ? 0xffffffff : ~u64{0};
    if (!in_protected() || mode & mode::virtual8086) {
        if (target > at(Seg::Cs).limit) return raise(vector_gp, 0);
        load_segment(Seg::Cs, selector);
        update_mode_if_needed();
        rip = target;
        return Outcome::Next;
    }
    Descriptor d;
    if (!code_descriptor(selector, d)) return Outcome::Stop;
    const Segment cs = d.segment(selector);
    if (!fits_code(target, cs)) return Outcome::Stop;
    set_code_segment(cs, cpl);
    rip = target;
    return Outcome::Next;
}

Outcome Cpu::far_call(u16 selector, u64 target, unsigned operand_bytes, const Insn& in) {
    const u16 old_cs = at(Seg::Cs).selector;
    Descriptor d;
    const bool with_descriptor = in_protected() && !(mode & mode::virtual8086);
    if (with_descriptor && (!code_descriptor(selector, d) || !fits_code(target, d.segment(selector)))) return Outcome::Stop;
    const Outcome first = stack_store(operand_bytes, old_cs, operand_bytes);
    if (first == Outcome::Stop) return first;
    const Outcome second = stack_store(2 * operand_bytes, next_rip(in), operand_bytes);
    if (second == Outcome::Stop) return second;
    const u64 sp = gpr[rsp] - 2 * operand_bytes;
    const Outcome out = far_jump(selector, target, operand_bytes);
    if (out == Outcome::Stop) return out;
    set_sp(sp);
    return std::max(first, second);
}

// The stack segment of an outer level, from a return.
bool Cpu::stack_segment(u16 selector, unsigned new_cpl, Segment& ss) {
    const u16 error = selector & 0xfffc;
    if (!error) {
        if (efer & efer::lma && new_cpl < 3 && (selector & 3u) == new_cpl) {
            ss = Segment{0, 0, ar::unusable | new_cpl << ar::dpl_shift, selector};
            return true;
        }
        raise(vector_gp, 0);
        return false;
    }
    Descriptor d;
    u64 place = 0;
    if (!read_descriptor(selector, vector_gp, d, place)) return false;
    if ((selector & 3u) != new_cpl || !d.is_writable_data() || d.dpl() != new_cpl) {
        raise(vector_gp, error);
        return false;
    }
    if (!d.present()) {
        raise(vector_ss, error);
        return false;
    }
    if (!mark_accessed(d, place)) return false;
    ss = d.segment(selector);
    return true;
}

// To `selector`:`target`, at this level or an outer one; `popped` bytes were taken from the stack so far. With `with_stack`
// SP and SS are taken even at the same level (IRET in 64-bit mode).
Outcome Cpu::return_to(u64 target, u16 selector, unsigned operand_bytes, unsigned popped, unsigned release, bool with_stack) {
    const u16 error = selector & 0xfffc;
    const unsigned rpl = selector & 3;
    if (!error) return raise(vector_gp, 0);
    Descriptor d;
    u64 place = 0;
    if (!read_descriptor(selector, vector_gp, d, place)) return Outcome::Stop;
    const bool fits = d.is_code() && rpl >= cpl && (d.is_conforming() ? d.dpl() <= rpl : d.dpl() == rpl);
    if (!fits) return raise(vector_gp, error);
    if (!d.present()) return raise(vector_np, error);
    const bool outer = rpl > cpl;
    Segment ss = at(Seg::Ss);
    u64 sp = gpr[rsp] + popped + release;
    if (outer || with_stack) {
        const auto new_sp = stack_load(popped + release, operand_bytes);
        if (!new_sp.ok) return Outcome::Stop;
        const auto new_ss = stack_load(popped + release + operand_bytes, operand_bytes);
        if (!new_ss.ok) return Outcome::Stop;
        if (!stack_segment(u16(new_ss.value), rpl, ss)) return Outcome::Stop;
        sp = new_sp.value + release;
    }
    const Segment cs = d.segment(selector);
    if (!fits_code(target, cs) || !mark_accessed(d, place)) return Outcome::Stop;
    at(Seg::Ss) = ss;
    if (!(ss.rights & ar::unusable)) at(Seg::Ss).rights = (ss.rights & ~(3u << ar::dpl_shift)) | rpl << ar::dpl_shift;
    set_code_segment(cs, rpl);
    set_sp(sp);
    rip = target;
    if (!outer) return Outcome::Next;
    // What the outer level may not use is taken away. Intel SDM vol. 2, "RET", "RETURN-TO-OUTER-PRIVILEGE-LEVEL".
    for (const Seg which : {Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs}) {
        Segment& s = at(which);
        const bool conforming = s.rights & ar::code && s.rights & ar::conforming;
        if (!(s.rights & ar::unusable) && !conforming && ar::dpl(s.rights) < cpl) s = Segment{0, 0, ar::unusable, 0};
    }
    update_mode_if_needed();
    return Outcome::Next;
}

Outcome Cpu::far_return(unsigned operand_bytes, u16 release_bytes) {
    const auto target = stack_load(0, operand_bytes);
    if (!target.ok) return Outcome::Stop;
    const auto selector = stack_load(operand_bytes, operand_bytes);
    if (!selector.ok) return Outcome::Stop;
    if (in_protected() && !(mode & mode::virtual8086))
        return return_to(target.value, u16(selector.value), operand_bytes, 2 * operand_bytes, release_bytes, false);
    if (target.value > at(Seg::Cs).limit) return raise(vector_gp, 0);
    load_segment(Seg::Cs, u16(selector.value));
    update_mode_if_needed();
    set_sp(gpr[rsp] + 2 * operand_bytes + release_bytes);
    rip = target.value;
    return Outcome::Next;
}

Outcome Cpu::interrupt_return(unsigned operand_bytes) {
    const auto target = stack_load(0, operand_bytes);
    if (!target.ok) return Outcome::Stop;
    const auto selector = stack_load(operand_bytes, operand_bytes);
    if (!selector.ok) return Outcome::Stop;
    const auto flags = stack_load(2 * operand_bytes, operand_bytes);
    if (!flags.ok) return Outcome::Stop;
    u64 changeable = changeable_flags(*this, operand_bytes);
    if (operand_bytes == 2) changeable &= 0xffff;
    if (in_protected()) {
        if (rflags & flag::nt) return raise(vector_gp, 0);  // a return from a nested task
        const Outcome out = return_to(target.value, u16(selector.value), operand_bytes, 3 * operand_bytes, 0, in_long64());
        if (out == Outcome::Stop) return out;
    } else {
        if (target.value > at(Seg::Cs).limit) return raise(vector_gp, 0);
        load_segment(Seg::Cs, u16(selector.value));
        update_mode_if_needed();
        set_sp(gpr[rsp] + 3 * operand_bytes);
        rip = target.value;
    }
    set_rflags(flags.value, changeable);
    interruptibility &= u8(~8u);  // NMIs are open again
    request_event();
    return Outcome::Next;
}

}  // namespace silicon::x86
