// What a virtual processor is made of beside its architectural state. `Cpu` has the functions that work on it.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "silicon/clock.h"
#include "silicon/mem/guest_access.h"
#include "silicon/mem/guest_memory.h"
#include "silicon/x86_64/block.h"
#include "silicon/x86_64/cpuid.h"
#include "silicon/x86_64/debug.h"
#include "silicon/x86_64/decode.h"
#include "silicon/x86_64/entropy.h"
#include "silicon/x86_64/event.h"
#include "silicon/x86_64/exit_record.h"
#include "silicon/x86_64/float_traps.h"
#include "silicon/x86_64/pieces.h"
#include "silicon/x86_64/state.h"
#include "silicon/x86_64/vmcs.h"

namespace silicon::x86 {

class InterruptUnit;
class Interrupter;

class CpuParts : public CpuState {
  public:
    struct TracedRip {
        u64 linear, cs_base;
        u32 bits;
    };
    struct RecentBlock {
        u64 linear;
        u32 mode, count;
    };

  protected:
    CpuParts(GuestMemory& memory, Clock& clock, unsigned index, bool raw);
    ~CpuParts();

    GuestMemory* memory_;
    Clock& clock_;
    unsigned index_;
    bool raw_;
    std::unique_ptr<Tlb[]> tlbs_;
    Tlb* tlb_table_ = nullptr;    // the one that `tlb` points into
    bool pdptes_stale_ = false;   // the host has set a register that makes the PDPTEs be read: done at the next entry
    BlockCache blocks_;
    Decoder decoder_;
    MemoryUser user_{requests};
    bool entry_unchecked_ = true;  // something outside has changed since the last entry
    bool timer_runs_ = false;      // the VMX-preemption timer
    bool tpr_trap_ = false;        // the entry itself finds the task priority below its threshold
    bool delivering_ = false;      // accesses are those of an event's delivery
    bool unblocked_nmi_ = false;   // by the IRET that runs now
    bool apic_watched_ = false;
    u64 apic_page_ = 0, timer_end_ns_ = 0;
    bool float_traps_ = false;
    u32 host_mxcsr_ = 0;  // to give back
    u16 host_x87_control_ = 0;  // the same, while it is lent
    bool x87_lent_ = false, x87_ready_ = false;
    Entropy entropy_;
    u64 stamp_ = 0;
    u32 epoch_ = 1;
    Block* block_ = nullptr;  // the one that runs
    Outcome outcome_ = Outcome::Next;
    DebugUnit debug_;
    u32 hits_ = 0;              // breakpoints that the instruction has met so far: bits of DR6
    bool debug_armed_ = false;  // DR7 has something enabled
    bool alone_ = false;        // the next instruction is to run alone
    bool repeating_ = false;    // RIP is on a REP whose last iteration is still to come
    bool stepping_ = false;     // `step()`: no breakpoint of the host stops it
    struct {
        bool here;
        u64 linear;
    } passed_{};                // the host's breakpoint that was reported, and is run over next
    struct {
        bool hit, write;
        u8 size_bytes;
        u64 linear;
    } watched_{};               // a host's watchpoint, to report
    Event fault_;      // raised by the instruction that stopped
    Event injected_;   // to deliver at the next boundary
    Event late_;       // raised by an instruction that is done: a task switch that faults in the new task, or is trapped
    std::atomic<u8> start_up_vector_{0};
    bool init_blocked_ = false;  // an INIT has come while it waited for a start-up message
    Pieces pieces_;
    bool unanswered_ = false;
    bool posted_ = false;    // this attempt has already let a store out
    bool few_left_ = false;  // the slice ends within the next block
    u64 code_base_ = 0;      // of CS, 0 in 64-bit code
    u64 instructions_ = 0;
    u64 run_ns_ = 0, idle_ns_ = 0;
    u64 slice_end_ns_ = ~u64{0};  // of this run, by the host's clock
    i32 granted_ = 0;  // what `remaining` started from
    RunStats stats_;
    std::mutex wake_lock_;
    std::condition_variable wake_;
    std::atomic<bool> sleeping_{false}, has_outside_{false};
    Interrupter* outside_ = nullptr;  // under `wake_lock_`
    std::unique_ptr<InterruptUnit> unit_;
    static constexpr unsigned recent_blocks = 16;  // a power of 2
    RecentBlock recent_ring_[recent_blocks] = {};
    u64 recent_next_ = 0;
    std::vector<TracedRip> trace_ring_;
    size_t trace_next_ = 0;
    u64 stage_at_ = 0, locked_gpa_ = 0;
    unsigned stage_bytes_ = 0, locked_bytes_ = 0;  // locked: of an access to a page that holds code, to look at when it is done
    std::unique_lock<std::mutex> exclusive_;
    alignas(16) u8 stage_[16];
    Vec wide_{};  // a 16-byte load that the TLB did not serve: returned in memory it would keep the others there too
};

}  // namespace silicon::x86
