// The architectural state of one x86-64 processor, laid out for translated code too: one base register reaches all of it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

#include "silicon/mem/tlb.h"
#include "silicon/x86_64/flags.h"

namespace silicon::x86 {

enum Gpr : u8 { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };
// Behind the sixteen: a register that is always zero (an absent base or index), and the RIP of the running block.
inline constexpr u8 slot_zero = 16, slot_block_rip = 17, slot_count = 18;

enum class Seg : u8 { Es, Cs, Ss, Ds, Fs, Gs, Ldtr, Tr, Count };

// Access rights as the VMCS has them. Intel SDM vol. 3, "Guest Register State", table "Format of Access Rights".
namespace ar {
inline constexpr u32 type = 0xf, accessed = 1, writable = 2, readable = 2, conforming = 4, expand_down = 4, code = 8;
inline constexpr u32 s = 1 << 4, dpl_shift = 5, present = 1 << 7, avl = 1 << 12, l = 1 << 13, db = 1 << 14, g = 1 << 15;
inline constexpr u32 unusable = 1 << 16;
constexpr u32 dpl(u32 rights) { return rights >> dpl_shift & 3; }
}  // namespace ar

struct Segment {
    u64 base = 0;
    u32 limit = 0xffff;  // in bytes, the last one that is inside
    u32 rights = 0;
    u16 selector = 0;
};

struct TableRegister {
    u64 base = 0;
    u32 limit = 0xffff;
};

namespace cr0 {
inline constexpr u64 pe = 1 << 0, mp = 1 << 1, em = 1 << 2, ts = 1 << 3, et = 1 << 4, ne = 1 << 5, wp = 1 << 16, am = 1 << 18;
inline constexpr u64 nw = 1 << 29, cd = 1 << 30, pg = u64{1} << 31;
inline constexpr u64 known = pe | mp | em | ts | et | ne | wp | am | nw | cd | pg;
}  // namespace cr0

namespace cr4 {
inline constexpr u64 vme = 1 << 0, pvi = 1 << 1, tsd = 1 << 2, de = 1 << 3, pse = 1 << 4, pae = 1 << 5, mce = 1 << 6, pge = 1 << 7;
inline constexpr u64 pce = 1 << 8, osfxsr = 1 << 9, osxmmexcpt = 1 << 10, umip = 1 << 11, la57 = 1 << 12, vmxe = 1 << 13;
inline constexpr u64 fsgsbase = 1 << 16, pcide = 1 << 17, osxsave = 1 << 18, smep = 1 << 20, smap = 1 << 21;
}  // namespace cr4

namespace efer {
inline constexpr u64 sce = 1 << 0, lme = 1 << 8, lma = 1 << 10, nxe = 1 << 11;
}

// How instructions are decoded and addressed; part of a block's key.
namespace mode {
inline constexpr u32 long64 = 1 << 0;   // CS.L under EFER.LMA
inline constexpr u32 code32 = 1 << 1;   // CS.D
inline constexpr u32 stack32 = 1 << 2;  // SS.B
inline constexpr u32 flat = 1 << 3;     // outside 64-bit code: CS, DS, ES and SS have base 0 and limit 4 GiB
inline constexpr u32 protected_ = 1 << 4;
inline constexpr u32 virtual8086 = 1 << 5;
inline constexpr u32 single = 1 << 6;   // blocks of one instruction
inline constexpr u32 user = 1 << 7;     // CPL 3; not part of the decoding
inline constexpr u32 no_x87 = 1 << 8;   // CR0.EM or CR0.TS: x87 and MMX instructions fault
inline constexpr u32 no_sse = 1 << 9;   // these, or CR4.OSFXSR clear: SSE instructions fault
inline constexpr u32 decoding = long64 | code32 | stack32 | flat | protected_ | virtual8086 | single | no_x87 | no_sse;
}  // namespace mode

// Values of `activity` in which nothing runs. Intel SDM vol. 3, "Guest Non-Register State".
inline constexpr u8 activity_waits = 3;  // for a start-up message

// Bits of the attention word that others set. The memory's is `request_memory` = 1.
namespace request {
inline constexpr u32 memory = 1 << 0;
inline constexpr u32 kick = 1 << 1;
inline constexpr u32 event = 1 << 2;  // something to inject, a window to look at
inline constexpr u32 init = 1 << 6, start_up = 1 << 7;  // messages of an interrupt controller
inline constexpr u32 wakes = kick | event | init | start_up;  // ends HLT
}  // namespace request

// XSAVE's standard image, with room for all of AVX-512.
inline constexpr u32 xsave_bytes = 2696;
inline constexpr u64 xcr0_known = 3;  // x87, SSE

// x87, MMX and SSE state as FXSAVE lays it out, but that the x87 registers lie by their own number, not by their place on
// the stack. Intel SDM vol. 1, "Legacy Region of an XSAVE Area".
struct FxState {
    u16 fcw = 0x37f, fsw = 0;
    u8 ftw = 0;  // abridged: bit n: register n is not empty
    u8 unused0 = 0;
    u16 fop = 0;
    u64 fip = 0, fdp = 0;
    u32 mxcsr = 0x1f80, mxcsr_mask = 0;
    u8 st[8][16] = {};   // 80 bits each; the MMX registers are their low 64
    u8 xmm[16][16] = {};
    u8 unused1[96] = {};

    unsigned top() const { return fsw >> 11 & 7; }
};
static_assert(sizeof(FxState) == 512 && offsetof(FxState, st) == 32 && offsetof(FxState, xmm) == 160);

struct alignas(64) CpuState {
    u64 gpr[slot_count] = {};
    u64 rip = 0;
    u64 rflags = flag::always;  // architectural outside `run`; inside, the six arithmetic flags are in `lazy`
    LazyFlags lazy;
    // The attention word: `requests` set by anyone, `remaining` by the owner only.
    alignas(8) std::atomic<u32> requests{0};
    i32 remaining = 0;
    TlbEntry* tlb = nullptr;  // the table of the present context
    u32 mode = 0;
    u8 cpl = 0;
    u32 interruptibility = 0;  // VMCS format: STI 1, MOV SS 2, SMI 4, NMI 8
    u32 activity = 0;          // VMCS format: active 0, HLT 1, shutdown 2, wait for SIPI 3
    std::array<Segment, static_cast<size_t>(Seg::Count)> seg{};
    TableRegister gdtr, idtr;
    u64 cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, cr8 = 0, efer = 0, xcr0 = 1;
    u64 pdptes[4] = {0, 0, 0, 0};  // of PAE paging
    u64 dr[8] = {0, 0, 0, 0, 0, 0, 0xffff0ff0, 0x400};
    alignas(64) FxState fx;
    std::array<u8, xsave_bytes - sizeof(FxState)> extended{};  // what follows it in an XSAVE image: kept, no instruction uses it

    Segment& at(Seg which) { return seg[static_cast<size_t>(which)]; }
    const Segment& at(Seg which) const { return seg[static_cast<size_t>(which)]; }
};

static_assert(offsetof(CpuState, gpr) == 0);
static_assert(offsetof(CpuState, rip) == 144);
static_assert(offsetof(CpuState, requests) % 8 == 0 && offsetof(CpuState, remaining) == offsetof(CpuState, requests) + 4);
static_assert(offsetof(CpuState, tlb) < 256, "within one byte of displacement from a base in the middle");

}  // namespace silicon::x86
