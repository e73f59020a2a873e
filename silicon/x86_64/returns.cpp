// Far returns and returns from interrupts. Intel SDM vol. 2, "RET—Return From Procedure", "IRET/IRETD/IRETQ—Interrupt Return".
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

// The stack segment of an outer level, from a return. It may be null below 64-bit code of the levels 0 to 2.
bool Cpu::stack_segment(u16 selector, unsigned new_cpl, bool to_long, Segment& ss) {
    const u16 error = selector & 0xfffc;
    if (!error) {
        if (to_long && new_cpl < 3 && (selector & 3u) == new_cpl) {
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

// What the outer level may not use is taken away. Intel SDM vol. 2, "RET", "RETURN-TO-OUTER-PRIVILEGE-LEVEL".
void Cpu::drop_inner_segments() {
    for (const Seg which : {Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs}) {
        Segment& s = at(which);
        const bool conforming = s.rights & ar::code && s.rights & ar::conforming;
        if (!(s.rights & ar::unusable) && !conforming && ar::dpl(s.rights) < cpl) s = Segment{0, 0, ar::unusable, 0};
    }
    update_mode_if_needed();
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
    const bool to_long = efer & efer::lma && d.rights() & ar::l;
    const bool fits = d.is_code() && rpl >= cpl && (d.is_conforming() ? d.dpl() <= rpl : d.dpl() == rpl);
    if (!fits || (to_long && d.rights() & ar::db)) return raise(vector_gp, error);
    if (!d.present()) return raise(vector_np, error);
    const bool outer = rpl > cpl;
    Segment ss = at(Seg::Ss);
    u64 sp = gpr[rsp] + popped + release;
    if (outer || with_stack) {
        const auto new_sp = stack_load(popped + release, operand_bytes);
        if (!new_sp.ok) return Outcome::Stop;
        const auto new_ss = stack_load(popped + release + operand_bytes, operand_bytes);
        if (!new_ss.ok) return Outcome::Stop;
        if (!stack_segment(u16(new_ss.value), rpl, to_long, ss)) return Outcome::Stop;
        sp = new_sp.value + release;
    }
    if (!fits_code(target, d.segment(selector)) || !mark_accessed(d, place)) return Outcome::Stop;
    const Segment cs = d.segment(selector);
    at(Seg::Ss) = ss;
    if (!(ss.rights & ar::unusable)) at(Seg::Ss).rights = (ss.rights & ~(3u << ar::dpl_shift)) | rpl << ar::dpl_shift;
    set_code_segment(cs, rpl);
    set_sp(sp);
    rip = target;
    if (outer) drop_inner_segments();
    return Outcome::Next;
}

Outcome Cpu::far_return(unsigned operand_bytes, u16 release_bytes) {
    const auto target = stack_load(0, operand_bytes);
    if (!target.ok) return Outcome::Stop;
    const auto selector = stack_load(operand_bytes, operand_bytes);
    if (!selector.ok) return Outcome::Stop;
    if (in_protected() && !(mode & mode::virtual8086))
        return return_to(target.value, u16(selector.value), operand_bytes, 2 * operand_bytes, release_bytes, false);
    const Outcome out = far_jump_real(u16(selector.value), target.value);
    if (out == Outcome::Next) set_sp(gpr[rsp] + 2 * operand_bytes + release_bytes);
    return out;
}

// In real and virtual-8086 mode.
Outcome Cpu::return_real(unsigned operand_bytes, u64 changeable) {
    const auto target = stack_load(0, operand_bytes);
    if (!target.ok) return Outcome::Stop;
    const auto selector = stack_load(operand_bytes, operand_bytes);
    if (!selector.ok) return Outcome::Stop;
    const auto flags = stack_load(2 * operand_bytes, operand_bytes);
    if (!flags.ok) return Outcome::Stop;
    const Outcome out = far_jump_real(u16(selector.value), target.value);
    if (out == Outcome::Stop) return out;
    set_sp(gpr[rsp] + 3 * operand_bytes);
    set_rflags(flags.value, changeable);
    return out;
}

// From level 0 with VM in the popped flags. Intel SDM vol. 2, "IRET", "RETURN-TO-VIRTUAL-8086-MODE".
Outcome Cpu::return_to_virtual8086(u64 target, u16 selector, u64 flags) {
    enum : unsigned { sp, ss, es, ds, fs, gs, count };
    u64 popped[count];
    for (unsigned n = 0; n < count; ++n) {
        const auto v = stack_load(12 + 4 * n, 4);
        if (!v.ok) return Outcome::Stop;
        popped[n] = v.value;
    }
    if (target > 0xffff) return raise(vector_gp, 0);
    const Seg order[] = {Seg::Ss, Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs};
    for (unsigned n = 0; n < 5; ++n) set_virtual8086(order[n], u16(popped[ss + n]));
    set_virtual8086(Seg::Cs, selector);
    set_rflags(flags, flag::all);
    update_mode_if_needed();
    gpr[rsp] = u32(popped[sp]);
    rip = target;
    return Outcome::Next;
}

Outcome Cpu::return_interrupt(unsigned operand_bytes) {
    const bool virtual8086 = in_protected() && mode & mode::virtual8086;
    u64 changeable = changeable_flags(*this, operand_bytes);
    if (operand_bytes == 2) changeable &= 0xffff;
    if (virtual8086 && (rflags & flag::iopl) != flag::iopl) return raise(vector_gp, 0);
    if (!in_protected() || virtual8086) return return_real(operand_bytes, changeable);
    const bool long_mode = efer & efer::lma;
    if (rflags & flag::nt) return long_mode ? raise(vector_gp, 0) : return_from_task();

    const auto target = stack_load(0, operand_bytes);
    if (!target.ok) return Outcome::Stop;
    const auto selector = stack_load(operand_bytes, operand_bytes);
    if (!selector.ok) return Outcome::Stop;
    const auto flags = stack_load(2 * operand_bytes, operand_bytes);
    if (!flags.ok) return Outcome::Stop;
    if (operand_bytes == 4 && flags.value & flag::vm && cpl == 0 && !long_mode)
        return return_to_virtual8086(target.value, u16(selector.value), flags.value);
    if (cpl == 0 && operand_bytes > 2) changeable |= flag::vif | flag::vip;
    const Outcome out = return_to(target.value, u16(selector.value), operand_bytes, 3 * operand_bytes, 0, in_long64());
    if (out != Outcome::Stop) set_rflags(flags.value, changeable);
    return out;
}

// NMIs are open again also after an IRET that faults. Intel SDM vol. 3, "Handling Multiple NMIs".
Outcome Cpu::interrupt_return(unsigned operand_bytes) {
    const bool opens = interruptibility & 8 && !(vmcs.pin & pin::nmi && !(vmcs.pin & pin::virtual_nmi));
    unblocked_nmi_ = opens;
    const Outcome out = return_interrupt(operand_bytes);
    if (out != Outcome::Stop) unblocked_nmi_ = false;
    if (opens && (out != Outcome::Stop || fault_.pending || raw_)) interruptibility &= ~8u;
    request_event();
    return out;
}

}  // namespace silicon::x86
