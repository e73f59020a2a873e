// PUSH and POP in all forms, frames. Rows: spec/x86_64/stack.toml.
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

// 64-bit operands exist in 64-bit mode only, where the stack is flat: the others go the general way.
template <class T>
SILICON_INLINE Outcome push(Cpu& cpu, T value) {
    if constexpr (sizeof(T) != 8) return cpu.push(value, sizeof(T));
    const Outcome out = cpu.store<u64>(cpu.gpr[rsp] - 8, value);
    if (out == Outcome::Stop) [[unlikely]] return cpu.stack_fault();
    cpu.gpr[rsp] -= 8;
    return out;
}

template <class T>
SILICON_INLINE Loaded<T> top(Cpu& cpu) {
    if constexpr (sizeof(T) == 8) {
        const auto v = cpu.load<u64>(cpu.gpr[rsp]);
        if (!v.ok) [[unlikely]] cpu.stack_fault();
        return v;
    } else {
        const auto v = cpu.stack_load(0, sizeof(T));
        return {T(v.value), v.ok};
    }
}

template <class T>
SILICON_INLINE void release(Cpu& cpu) {
    if constexpr (sizeof(T) == 8)
        cpu.gpr[rsp] += 8;
    else
        cpu.set_sp(cpu.gpr[rsp] + sizeof(T));
}

template <class Src>
SILICON_INLINE Outcome push_operand(Cpu& cpu, const Insn& in) {
    const auto v = Src::load(cpu, in);
    if (!v.ok) [[unlikely]] return Outcome::Stop;
    return push(cpu, v.value);
}

template <class Immediate, class T>
SILICON_INLINE Outcome push_immediate(Cpu& cpu, const Insn& in) {
    return push(cpu, T(in.imm));
}

template <class Segment, class T>
SILICON_INLINE Outcome push_segment(Cpu& cpu, const Insn& in) {
    return push(cpu, T(cpu.at(static_cast<Seg>(in.reg[0])).selector));
}

// An address made with RSP counts from the stack as it is after the pop.
template <class Dst>
SILICON_INLINE Outcome pop_operand(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const auto v = top<T>(cpu);
    if (!v.ok) [[unlikely]] return Outcome::Stop;
    const u64 before = cpu.gpr[rsp];
    release<T>(cpu);
    const Outcome out = Dst::store(cpu, in, v.value);
    if constexpr (Dst::memory)
        if (out == Outcome::Stop) cpu.gpr[rsp] = before;
    return out;
}

template <class Segment, class T>
SILICON_INLINE Outcome pop_segment(Cpu& cpu, const Insn& in) {
    const auto v = top<T>(cpu);
    if (!v.ok) return Outcome::Stop;
    const u64 before = cpu.gpr[rsp];
    release<T>(cpu);
    const auto which = static_cast<Seg>(in.reg[0]);
    if (!cpu.load_segment(which, u16(v.value))) {
        cpu.gpr[rsp] = before;
        return Outcome::Stop;
    }
    if (which == Seg::Ss) cpu.interruptibility |= 2;
    cpu.request_event();
    return Outcome::Next;
}

// The last one first: a fault anywhere leaves the stack pointer alone, so storing again is harmless.
template <class T>
SILICON_INLINE Outcome push_all(Cpu& cpu, const Insn&) {
    Outcome worst = Outcome::Next;
    for (unsigned n = 0; n < 8; ++n) {
        const Outcome out = cpu.stack_store((n + 1) * sizeof(T), T(cpu.gpr[n]), sizeof(T));
        if (out == Outcome::Stop) return out;
        if (out == Outcome::Leave) worst = out;
    }
    cpu.set_sp(cpu.gpr[rsp] - 8 * sizeof(T));
    return worst;
}

template <class T>
SILICON_INLINE Outcome pop_all(Cpu& cpu, const Insn&) {
    T values[8];
    for (unsigned n = 0; n < 8; ++n) {
        const auto v = cpu.stack_load(n * sizeof(T), sizeof(T));
        if (!v.ok) return Outcome::Stop;
        values[n] = T(v.value);
    }
    for (unsigned n = 0; n < 8; ++n)
        if (7 - n != rsp) cpu.set_gpr<T>(static_cast<Gpr>(7 - n), values[n]);
    cpu.set_sp(cpu.gpr[rsp] + 8 * sizeof(T));
    return Outcome::Next;
}

bool flags_refused(const Cpu& cpu) { return cpu.mode & mode::virtual8086 && (cpu.rflags & flag::iopl) != flag::iopl; }

template <class T>
SILICON_INLINE Outcome push_flags(Cpu& cpu, const Insn&) {
    if (flags_refused(cpu)) return cpu.raise(vector_gp, 0);
    return push(cpu, T(cpu.all_rflags() & ~(flag::rf | flag::vm)));
}

template <class T>
SILICON_INLINE Outcome pop_flags(Cpu& cpu, const Insn&) {
    if (flags_refused(cpu)) return cpu.raise(vector_gp, 0);
    const auto v = top<T>(cpu);
    if (!v.ok) return Outcome::Stop;
    release<T>(cpu);
    cpu.set_rflags(v.value, flags_for_pop(cpu, sizeof(T)) & (sizeof(T) == 2 ? 0xffff : ~flag::rf));
    cpu.rflags &= ~(sizeof(T) == 2 ? 0 : flag::rf);
    return Outcome::Next;
}

// Intel SDM vol. 2, "ENTER—Make Stack Frame for Procedure Parameters".
template <class Size, class Level, class T>
SILICON_INLINE Outcome enter_frame(Cpu& cpu, const Insn& in) {
    const unsigned level = unsigned(in.disp) & 31;
    const u64 mask = cpu.stack_mask(), frame_pointer = cpu.gpr[rbp];
    Outcome worst = cpu.stack_store(sizeof(T), T(frame_pointer), sizeof(T));
    if (worst == Outcome::Stop) return worst;
    u64 depth = sizeof(T);
    const T frame = T(cpu.gpr[rsp] - sizeof(T));
    for (unsigned n = 1; n <= level; ++n) {
        T value = frame;
        if (n < level) {
            const Linear from = cpu.segment_linear(Seg::Ss, (frame_pointer - n * sizeof(T)) & mask, sizeof(T), Access::Read);
            if (!from.ok) return Outcome::Stop;
            const auto v = cpu.load<T>(from.value);
            if (!v.ok) return cpu.stack_fault();
            value = v.value;
        }
        const Outcome out = cpu.stack_store(depth += sizeof(T), value, sizeof(T));
        if (out == Outcome::Stop) return out;
        if (out == Outcome::Leave) worst = out;
    }
    // The new top must be writable, as if something were pushed there.
    const u64 top = (cpu.gpr[rsp] - depth - u16(in.imm)) & mask;
    const Linear last = cpu.segment_linear(Seg::Ss, top, sizeof(T), Access::Write);
    if (!last.ok) return Outcome::Stop;
    if (cpu.misaligned(last.value, sizeof(T)) || !cpu.probe_write(last.value, sizeof(T))) return cpu.stack_fault();
    cpu.set_gpr<T>(rbp, frame);
    cpu.set_sp(top);
    return worst;
}

template <class T>
SILICON_INLINE Outcome leave_frame(Cpu& cpu, const Insn&) {
    const Linear from = cpu.segment_linear(Seg::Ss, cpu.gpr[rbp] & cpu.stack_mask(), sizeof(T), Access::Read);
    if (!from.ok) return Outcome::Stop;
    const auto v = cpu.load<T>(from.value);
    if (!v.ok) return cpu.stack_fault();
    cpu.set_sp(cpu.gpr[rbp] + sizeof(T));
    cpu.set_gpr<T>(rbp, v.value);
    return Outcome::Next;
}

}  // namespace

#include "ops_stack.inc"

}  // namespace silicon::x86
