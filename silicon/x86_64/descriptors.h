// Segment descriptors as they lie in memory. Intel SDM vol. 3, "Segment Descriptors", "Gate Descriptors".
#pragma once

#include "silicon/x86_64/state.h"

namespace silicon::x86 {

struct Descriptor {
    u64 bits = 0;

    u32 rights() const { return u32(bits >> 40 & 0xf0ff); }
    bool present() const { return rights() & ar::present; }
    bool is_system() const { return !(rights() & ar::s); }
    bool is_code() const { return !is_system() && rights() & ar::code; }
    bool is_writable_data() const { return !is_system() && !is_code() && rights() & ar::writable; }
    bool is_readable() const { return !is_system() && (!is_code() || rights() & ar::readable); }
    bool is_conforming() const { return is_code() && rights() & ar::conforming; }
    unsigned type() const { return rights() & ar::type; }
    unsigned dpl() const { return ar::dpl(rights()); }
    u64 base() const { return (bits >> 16 & 0xffffff) | (bits >> 56 & 0xff) << 24; }
    u32 limit() const {
        const u32 raw = u32(bits & 0xffff) | u32(bits >> 48 & 0xf) << 16;
        return rights() & ar::g ? raw << 12 | 0xfff : raw;
    }
    Segment segment(u16 selector) const { return {base(), limit(), rights(), selector}; }
};

// System descriptors and gates: what `type` says of them. Intel SDM vol. 3, "System Descriptor Types".
namespace sys {
inline constexpr unsigned tss16 = 1, ldt = 2, call16 = 4, task_gate = 5, interrupt16 = 6, trap16 = 7;
inline constexpr unsigned tss32 = 9, call32 = 12, interrupt32 = 14, trap32 = 15;
inline constexpr u32 busy = 2;  // of a task's type
}  // namespace sys

// Whether `size_bytes` at `offset` lie within the limit.
inline bool covers(const Segment& s, u64 offset, unsigned size_bytes) {
    const u64 last = offset + size_bytes - 1;
    const bool down = !(s.rights & ar::code) && s.rights & ar::expand_down;
    const u64 top = s.rights & ar::db ? 0xffffffff : 0xffff;
    return down ? offset > s.limit && last <= top : last <= s.limit;
}

// A stack on which a frame is made before it becomes SS:SP.
struct FrameStack {
    Segment ss;
    u64 sp = 0;
    unsigned cpl = 0;
    bool is_new = false;  // not the present one: its faults name its selector

    u64 mask() const { return ss.rights & ar::db ? 0xffffffff : 0xffff; }
    u64 below(u64 bytes) const { return (sp - bytes) & mask(); }
    u32 error() const { return is_new ? ss.selector & 0xfffcu : 0; }
};

// Where a call gate leads.
struct CallTarget {
    Segment cs;
    u64 offset = 0;
    unsigned cpl = 0;         // that it runs at
    unsigned size_bytes = 0;  // of what is pushed: 2, 4 or 8
    unsigned parameters = 0;  // to copy
};

// One gate of an IDT, 8 bytes in protected mode, 16 in long mode.
struct Gate {
    u64 low = 0, high = 0;

    u16 selector() const { return u16(low >> 16); }
    u64 offset(bool long_mode) const {
        const u64 offset32 = (low & 0xffff) | (low >> 32 & 0xffff0000);
        return long_mode ? offset32 | high << 32 : offset32;
    }
    unsigned type() const { return low >> 40 & 0xf; }  // 6, 7: 16-bit; 14, 15: 32- or 64-bit; odd: trap gate
    unsigned dpl() const { return low >> 45 & 3; }
    bool is_system() const { return !(low >> 44 & 1); }
    bool present() const { return low >> 47 & 1; }
    unsigned ist() const { return low >> 32 & 7; }
    bool is_trap() const { return type() & 1; }
    bool is_wide() const { return type() & 8; }
};

}  // namespace silicon::x86
