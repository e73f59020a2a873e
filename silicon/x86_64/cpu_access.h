// The inline part of `Cpu`: addresses, and the accesses that the TLB serves. Included by cpu.h only.
#pragma once

#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {

SILICON_INLINE u64 Cpu::effective(const Insn& in) const { return gpr[in.base] + (gpr[in.index] << in.scale) + u64(i64{in.disp}); }

SILICON_INLINE u64 Cpu::offset_of(const Insn& in) const {
    u64 offset = effective(in);
    if (in.addressing == Addressing::RipFar) offset += u64{in.offset} + in.length;
    if (in.addressing == Addressing::Offset64) offset = u64(in.imm);
    return in.address_bytes == 8 ? offset : in.address_bytes == 4 ? u32(offset) : u16(offset);
}

template <class T>
SILICON_INLINE Linear Cpu::linear(const Insn& in, Access access) {
    if (in.addressing == Addressing::Flat64) [[likely]] return {effective(in), true};
    if (in.addressing == Addressing::Flat32) return {u32(effective(in)), true};
    return general_linear(in, sizeof(T), access);
}

template <class T>
SILICON_INLINE Loaded<T> Cpu::load(u64 at) {
    const TlbEntry& e = tlb[Tlb::index(at)];
    if (e.read == ((at + sizeof(T) - 1) & ~page_offset_mask)) [[likely]]
        return {load_host<T>(reinterpret_cast<const void*>(at + e.addend)), true};
    if constexpr (sizeof(T) == sizeof(Vec)) {
        const bool ok = slow_load_vec(at);
        return {wide_, ok};
    } else {
        const Slow slow = slow_load(at, sizeof(T));
        return {T(slow.value), slow.outcome == Outcome::Next};
    }
}

template <class T>
SILICON_INLINE Outcome Cpu::store(u64 at, T value) {
    const TlbEntry& e = tlb[Tlb::index(at)];
    if (e.write == ((at + sizeof(T) - 1) & ~page_offset_mask)) [[likely]] {
        store_host<T>(reinterpret_cast<void*>(at + e.addend), value);
        return Outcome::Next;
    }
    if constexpr (sizeof(T) == sizeof(Vec))
        return slow_store_vec(at, value);
    else
        return slow_store(at, value, sizeof(T));
}

template <class T>
SILICON_INLINE u8* Cpu::place(u64 at) {
    const TlbEntry& e = tlb[Tlb::index(at)];
    if (e.write == ((at + sizeof(T) - 1) & ~page_offset_mask)) [[likely]] return reinterpret_cast<u8*>(at + e.addend);
    return slow_place(at, sizeof(T));
}

template <class T>
SILICON_INLINE u8* Cpu::place_locked(u64 at) {
    const TlbEntry& e = tlb[Tlb::index(at)];
    if (e.write == ((at + sizeof(T) - 1) & ~page_offset_mask)) [[likely]] return reinterpret_cast<u8*>(at + e.addend);
    return slow_place_locked(at, sizeof(T));
}

inline void Cpu::set_sp(u64 value) {
    if (in_long64())
        gpr[rsp] = value;
    else if (mode & mode::stack32)
        gpr[rsp] = u32(value);
    else
        set_gpr<u16>(rsp, u16(value));
}

inline Outcome Cpu::push(u64 value, unsigned size_bytes) {
    const Outcome out = stack_store(size_bytes, value, size_bytes);
    if (out != Outcome::Stop) set_sp(gpr[rsp] - size_bytes);
    return out;
}

SILICON_INLINE bool Cpu::another_iteration() {
    if (rflags & flag::tf || requests.load(std::memory_order_relaxed) != 0 || remaining <= 0 || rflags & flag::tf) return false;
    --remaining;
    return true;
}

}  // namespace silicon::x86
