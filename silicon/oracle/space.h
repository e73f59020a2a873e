// What the software CPU and a guest of KVM run programs in: user mode, the same pages at the same linear addresses as
// the child of the host side has, and behind them, out of a program's reach, what a processor needs.
//
//   0xffff800000000000  the IDT     +0x1000  TSS and GDT     +0x2000  HLT instructions     +0x3000  a stack for CPL 0
#pragma once

#include <array>
#include <memory>

#include "silicon/oracle/layout.h"
#include "silicon/x86_64/state.h"

namespace silicon::oracle {

// Guest-physical addresses. `own_bytes` are in one piece of memory; the code area lies at its linear address.
inline constexpr u64 tables_gpa = 0x1000, idt_gpa = 0xb000, tss_gpa = 0xc000, handlers_gpa = 0xd000, stack_gpa = 0xe000,
                     end_gpa = 0xf000, data_gpa = 0x1'0000, own_bytes = data_gpa + data_bytes;
inline constexpr u64 idt_at = 0xffff'8000'0000'0000;  // where no program's page is
inline constexpr u64 tss_at = idt_at + page_bytes, handlers_at = tss_at + page_bytes,
                     stack_at = handlers_at + page_bytes;
inline constexpr u64 gdt_offset = 0x100, gdt_at = tss_at + gdt_offset;
inline constexpr u32 idt_limit = 0xfff, gdt_limit = 0x7f, tss_limit = 0x67;
inline constexpr u16 kernel_selector = 0x10;

inline constexpr u64 user_cr0 = x86::cr0::pe | x86::cr0::mp | x86::cr0::et | x86::cr0::ne | x86::cr0::wp |
                                x86::cr0::am | x86::cr0::pg;
inline constexpr u64 user_cr4 = x86::cr4::pae | x86::cr4::osfxsr | x86::cr4::osxmmexcpt | x86::cr4::osxsave;
inline constexpr u64 user_efer = x86::efer::sce | x86::efer::lme | x86::efer::lma | x86::efer::nxe;

// The selectors and rights that Linux gives a process. In 64-bit code DS and ES are null.
std::array<x86::Segment, static_cast<size_t>(x86::Seg::Count)> segments_of(unsigned bits);

class Space {
  public:
    Space();
    u8* memory() const { return memory_.get(); }
    u8* data_page(u64 n) const { return memory_.get() + data_gpa + n * page_bytes; }

    void set_pattern(const Pattern& pattern);
    void restore() { set_pattern(Pattern(pattern_)); }
    void patch(const Job& job) const;  // before it runs
    void collect(const Job& job, Result& result) const;  // after it

  private:
    void map_page(u64 linear, u64 gpa, u64 rights);
    void build_tables();

    struct Free {
        void operator()(u8* memory) const;
    };
    std::unique_ptr<u8, Free> memory_;
    Pattern pattern_{};
    u64 next_table_ = tables_gpa;
};

}  // namespace silicon::oracle
