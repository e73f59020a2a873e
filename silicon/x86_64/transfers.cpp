// Stack accesses, far jumps and far calls to code segments. Intel SDM vol. 2, "JMP—Jump", "CALL—Call Procedure".
// Through gates: gates.cpp; returns: returns.cpp; task switches: tasks.cpp.
#include <algorithm>

#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/descriptors.h"

namespace silicon::x86 {

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

// The descriptor of a far jump or call. False: a fault.
bool Cpu::target_descriptor(u16 selector, Descriptor& d, u64& place) {
    if (!(selector & 0xfffc)) {
        raise(vector_gp, 0);
        return false;
    }
    return read_descriptor(selector, vector_gp, d, place);
}

// Whether a far jump or call may go to this code segment, at the present level.
bool Cpu::plain_code(u16 selector, Descriptor& d, u64 place) {
    const unsigned rpl = selector & 3;
    const bool fits = d.is_code() && (d.is_conforming() ? d.dpl() <= cpl : rpl <= cpl && d.dpl() == cpl);
    const bool both_sizes = efer & efer::lma && d.rights() & ar::l && d.rights() & ar::db;
    if (!fits || both_sizes || !d.present()) {
        raise(fits && !both_sizes ? vector_np : vector_gp, selector & 0xfffc);
        return false;
    }
    return mark_accessed(d, place);
}

Outcome Cpu::enter_code(const Segment& cs, unsigned new_cpl, u64 target) {
    set_code_segment(cs, new_cpl);
    rip = target;
    return Outcome::Next;
}

Outcome Cpu::far_jump_real(u16 selector, u64 target) {
    if (target > at(Seg::Cs).limit) return raise(vector_gp, 0);
    load_segment(Seg::Cs, selector);
    update_mode_if_needed();
    rip = target;
    return Outcome::Next;
}

Outcome Cpu::far_jump(u16 selector, u64 target, unsigned operand_bytes) {
    target &= operand_bytes == 2 ? 0xffff : operand_bytes == 4 ? 0xffffffff : ~u64{0};
    if (!in_protected() || mode & mode::virtual8086) return far_jump_real(selector, target);
    Descriptor d;
    u64 place = 0;
    if (!target_descriptor(selector, d, place)) return Outcome::Stop;
    if (d.is_system()) return jump_system(selector, d, place);
    if (!plain_code(selector, d, place)) return Outcome::Stop;
    const Segment cs = d.segment(selector);
    return fits_code(target, cs) ? enter_code(cs, cpl, target) : Outcome::Stop;
}

// CS and the return address go to the present stack; the level stays.
Outcome Cpu::push_and_enter(const Segment& cs, u64 target, unsigned operand_bytes, u64 back) {
    const Outcome first = stack_store(operand_bytes, at(Seg::Cs).selector, operand_bytes);
    if (first == Outcome::Stop) return first;
    const Outcome second = stack_store(2 * operand_bytes, back, operand_bytes);
    if (second == Outcome::Stop) return second;
    set_sp(gpr[rsp] - 2 * operand_bytes);
    enter_code(cs, cpl, target);
    return std::max(first, second);
}

Outcome Cpu::far_call(u16 selector, u64 target, unsigned operand_bytes, const Insn& in) {
    const u64 back = next_rip(in);
    if (!in_protected() || mode & mode::virtual8086) {
        if (target > at(Seg::Cs).limit) return raise(vector_gp, 0);
        const Outcome first = stack_store(operand_bytes, at(Seg::Cs).selector, operand_bytes);
        if (first == Outcome::Stop) return first;
        const Outcome second = stack_store(2 * operand_bytes, back, operand_bytes);
        if (second == Outcome::Stop) return second;
        set_sp(gpr[rsp] - 2 * operand_bytes);
        far_jump_real(selector, target);
        return std::max(first, second);
    }
    Descriptor d;
    u64 place = 0;
    if (!target_descriptor(selector, d, place)) return Outcome::Stop;
    if (d.is_system()) return call_system(selector, d, place, back & code_mask());
    if (!plain_code(selector, d, place)) return Outcome::Stop;
    const Segment cs = d.segment(selector);
    return fits_code(target, cs) ? push_and_enter(cs, target, operand_bytes, back) : Outcome::Stop;
}

}  // namespace silicon::x86
