// Where a handler's operands are: types that the instruction table puts together with a handler.
#pragma once

#include "silicon/x86_64/alu.h"
#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {

// The general register at operand position N.
template <unsigned N, class T>
struct R {
    using type = T;
    static constexpr bool memory = false;
    static SILICON_INLINE Loaded<T> load(Cpu& cpu, const Insn& in) { return {cpu.get<T>(in.reg[N]), true}; }
    static SILICON_INLINE Outcome store(Cpu& cpu, const Insn& in, T value) {
        cpu.set<T>(in.reg[N], value);
        return Outcome::Next;
    }
};

// The memory operand.
template <class T>
struct M {
    using type = T;
    static constexpr bool memory = true;
    static SILICON_INLINE Loaded<T> load(Cpu& cpu, const Insn& in) {
        const Linear at = cpu.linear<T>(in, Access::Read);
        if (!at.ok) [[unlikely]] return {T{}, false};
        return cpu.load<T>(at.value);
    }
    static SILICON_INLINE Outcome store(Cpu& cpu, const Insn& in, T value) {
        const Linear at = cpu.linear<T>(in, Access::Write);
        if (!at.ok) [[unlikely]] return Outcome::Stop;
        return cpu.store<T>(at.value, value);
    }
    // Where it is, checked for writing. `place` and `place_locked` give it to read, change and write back.
    static SILICON_INLINE Linear where(Cpu& cpu, const Insn& in) { return cpu.linear<T>(in, Access::Write); }
};

// The bytes of a memory operand to change; null after a fault. `Cpu::commit` lets the change out, `commit_locked` the other's.
template <class Dst>
SILICON_INLINE u8* place(Cpu& cpu, const Insn& in) {
    const Linear at = Dst::where(cpu, in);
    if (!at.ok) [[unlikely]] return nullptr;
    return cpu.place<typename Dst::type>(at.value);
}
template <class Dst>
SILICON_INLINE u8* place_locked(Cpu& cpu, const Insn& in) {
    const Linear at = Dst::where(cpu, in);
    if (!at.ok) [[unlikely]] return nullptr;
    return cpu.place_locked<typename Dst::type>(at.value);
}

// The XMM register at operand position N, whole.
template <unsigned N>
struct X {
    using type = Vec;
    static constexpr bool memory = false;
    static SILICON_INLINE Loaded<Vec> load(Cpu& cpu, const Insn& in) { return {load_host<Vec>(cpu.xmm(in.reg[N])), true}; }
    static SILICON_INLINE Outcome store(Cpu& cpu, const Insn& in, Vec value) {
        store_host<Vec>(cpu.xmm(in.reg[N]), value);
        return Outcome::Next;
    }
};

// The low T of the XMM register at operand position N; the rest stays.
template <unsigned N, class T>
struct XLow {
    using type = T;
    static constexpr bool memory = false;
    static SILICON_INLINE Loaded<T> load(Cpu& cpu, const Insn& in) { return {load_host<T>(cpu.xmm(in.reg[N])), true}; }
    static SILICON_INLINE Outcome store(Cpu& cpu, const Insn& in, T value) {
        store_host<T>(cpu.xmm(in.reg[N]), value);
        return Outcome::Next;
    }
};

// The MMX register at operand position N. Above it the x87 register gets ones; what else an MMX instruction does to the x87
// unit is its handler's. Intel SDM vol. 3, "Effects of MMX Instructions on x87 FPU State".
template <unsigned N>
struct Q {
    using type = u64;
    static constexpr bool memory = false;
    static SILICON_INLINE Loaded<u64> load(Cpu& cpu, const Insn& in) { return {load_host<u64>(cpu.fx.st[in.reg[N]]), true}; }
    static SILICON_INLINE Outcome store(Cpu& cpu, const Insn& in, u64 value) {
        u8* place = cpu.fx.st[in.reg[N]];
        store_host<u64>(place, value);
        store_host<u16>(place + 8, 0xffff);
        return Outcome::Next;
    }
};

// The x87 register at operand position N: `in.reg[N]` counts from the top of the stack.
template <unsigned N>
struct T {};

// 16 bytes of memory that must be aligned, or #GP(0). Intel SDM vol. 2A, "Exceptions Type 4" of instructions without VEX.
struct Aligned {
    using type = Vec;
    static constexpr bool memory = true;
    static SILICON_INLINE Linear where(Cpu& cpu, const Insn& in, Access access) {
        const Linear at = cpu.linear<Vec>(in, access);
        if (at.value & 15 && at.ok) [[unlikely]] return cpu.raise(vector_gp, 0), Linear{0, false};
        return at;
    }
    static SILICON_INLINE Loaded<Vec> load(Cpu& cpu, const Insn& in) {
        const Linear at = where(cpu, in, Access::Read);
        if (!at.ok) [[unlikely]] return {Vec{}, false};
        return cpu.load<Vec>(at.value);
    }
    static SILICON_INLINE Outcome store(Cpu& cpu, const Insn& in, Vec value) {
        const Linear at = where(cpu, in, Access::Write);
        if (!at.ok) [[unlikely]] return Outcome::Stop;
        return cpu.store<Vec>(at.value, value);
    }
};

// The immediate, sign-extended to T.
template <class T>
struct I {
    using type = T;
    static constexpr bool memory = false;
    static SILICON_INLINE Loaded<T> load(Cpu&, const Insn& in) { return {T(in.imm), true}; }
};

// A segment, control or debug register: its number is `in.reg[N]`.
template <unsigned N>
struct S {};

// A far pointer in the instruction: offset in `in.imm`, selector in `in.disp`.
struct P {};

// REP prefixes of string instructions: Equal is F3 (REP, REPE), NotEqual F2.
enum class Rep : u8 { None, Equal, NotEqual };

// old → `compute(old)`, an alu::Result; commits value and flags together.
template <class Dst, class Compute>
SILICON_INLINE Outcome update(Cpu& cpu, const Insn& in, Compute compute) {
    using T = typename Dst::type;
    if constexpr (!Dst::memory) {
        const auto r = compute(Dst::load(cpu, in).value);
        Dst::store(cpu, in, r.value);
        cpu.lazy = r.flags;
        return Outcome::Next;
    } else {
        u8* at = place<Dst>(cpu, in);
        if (!at) [[unlikely]] return Outcome::Stop;
        const auto r = compute(load_host<T>(at));
        store_host<T>(at, r.value);
        const Outcome out = cpu.commit(at);
        if (out == Outcome::Stop) [[unlikely]] return out;
        cpu.lazy = r.flags;
        return out;
    }
}

// The same under LOCK: a host atomic on the guest's memory.
template <class Dst, class Compute>
SILICON_INLINE Outcome update_locked(Cpu& cpu, const Insn& in, Compute compute) {
    using T = typename Dst::type;
    u8* at = place_locked<Dst>(cpu, in);
    if (!at) [[unlikely]] return Outcome::Stop;
    T old = load_host<T>(at);
    auto r = compute(old);
    while (!swap_host<T>(at, old, r.value)) r = compute(old);
    const Outcome out = cpu.commit_locked(at);
    if (out == Outcome::Stop) [[unlikely]] return out;
    cpu.lazy = r.flags;
    return out;
}

}  // namespace silicon::x86
