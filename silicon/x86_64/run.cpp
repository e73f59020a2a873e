// The dispatcher: limits, requests, events, and block after block until something must be reported.
#include <algorithm>
#include <utility>

#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/interrupt_unit.h"

namespace silicon::x86 {
namespace {

constexpr u64 slice_instructions = 16384;  // about 100 µs: how often the clock is looked at
constexpr u64 no_limit = ~u64{0};

}  // namespace

void Cpu::set_exit(ExitKind kind, Reason reason) {
    exit.clear();
    exit.kind = kind;
    exit.reason = reason;
}

// `rip` is on or behind the instruction as the outcome says, and what the block had reserved and not run goes back.
void Cpu::stopped(const Insn* in, Outcome outcome) {
    const bool done = outcome == Outcome::Leave;
    rip = (gpr[slot_block_rip] + in->offset + (done ? in->length : 0)) & code_mask();
    remaining += block_->count - static_cast<i32>(in - block_->insns) - (outcome == Outcome::Stop ? 0 : 1);
    outcome_ = outcome;
    exit.length_bytes = in->length;
    if (fault_.pending && fault_.not_canonical && in->seg == Seg::Ss) fault_.vector = vector_ss;
    fault_.length = in->length;
}

void Cpu::ended(const Insn* in, Outcome outcome) {
    const u64 target = rip;
    stopped(in, outcome);
    if (outcome == Outcome::Leave) rip = target;
}

void Cpu::next_epoch() {
    if (++epoch_ == 0) epoch_ = 1;
    update_stamp();
}

void Cpu::enter() {
    lazy = LazyFlags::of_bits(rflags);
    user_.inside.store(true, std::memory_order_seq_cst);
    clock_.execute(true);
    const u64 generation = memory_->generation();
    if (user_.seen.load(std::memory_order_relaxed) != generation) flush_tlb();
    user_.seen.store(generation, std::memory_order_seq_cst);
    settle_pdptes();
    if (debug_armed_ || dr[7] & dr7::enables) arm_debug();
    if (vmcs.entry_info >> 31) inject_from_vmcs();
    if (init_blocked_ && activity != activity_waits) unblock_init();
    borrow_float();
    next_epoch();  // the host may have written over code since the last run: blocks are compared before they run again
}

// Between two iterations of a REP the flags have RF, as an interrupt would push them. Intel SDM vol. 3, "Saving RIP, RSP, RFLAGS".
void Cpu::leave() {
    return_float();
    injected_.pending = false;  // one that still waits stands in the VMCS, where it may be taken back
    rflags = all_rflags() | (std::exchange(repeating_, false) ? flag::rf : 0);
    if (raw_ && interruptibility & 2) leave_step();
    if (raw_) vmcs.entry_controls = (vmcs.entry_controls & ~entry_control::ia32e) | (efer & efer::lma ? entry_control::ia32e : 0);
    clock_.execute(false);
    user_.inside.store(false, std::memory_order_seq_cst);
}

// Memory was mapped, unmapped, protected, or code in it written over.
void Cpu::attend_memory() {
    requests.fetch_and(~request::memory, std::memory_order_seq_cst);
    const u64 generation = memory_->generation();
    drop_stale_code();
    if (user_.seen.load(std::memory_order_relaxed) != generation) {
        flush_tlb();
        next_epoch();
    }
    user_.seen.store(generation, std::memory_order_seq_cst);
}

// What others have asked for. True: leave, `exit` says why.
bool Cpu::attend() {
    const u32 seen = requests.load(std::memory_order_seq_cst);
    if (seen & request::memory) attend_memory();
    if (seen & request::event) requests.fetch_and(~request::event, std::memory_order_relaxed);
    if (seen & (request::init | request::start_up)) [[unlikely]]
        if (take_messages(seen)) return true;
    if (!(seen & request::kick)) return false;
    requests.fetch_and(~request::kick, std::memory_order_seq_cst);
    set_exit(ExitKind::Kicked, Reason::ExternalInterrupt);
    return true;
}

// Whether it is time to leave: the deadline (an exit), or the host's slice (none).
bool Cpu::over(const RunLimits& limits) {
    if (limits.deadline_ns != no_limit && clock_.now_ns() >= limits.deadline_ns) {
        set_exit(ExitKind::DeadlinePassed, Reason::PreemptionTimer);
        return true;
    }
    return slice_end_ns_ != no_limit && Clock::host_ns() >= slice_end_ns_;
}

// Gives the next slice. False: a limit is reached and `exit` says which.
bool Cpu::refill(const RunLimits& limits, u64 budget_left, bool first) {
    if (budget_left == 0) {
        set_exit(limits.one ? ExitKind::MonitorTrap : ExitKind::BudgetSpent, Reason::MonitorTrap);
        return false;
    }
    run_timer();
    if ((!first || limits.deadline_ns != no_limit) && over(limits)) return false;  // the host's slice has just begun
    // What is injected waits for an unfinished instruction, of a REP only for this iteration.
    u64 slice = control(proc::monitor_trap) || injected_.pending ? 1 : std::min(budget_left, slice_instructions);
    if (const u64 due = std::min(limits.deadline_ns, timer_due()); due != no_limit && clock_.counts_instructions())
        slice = std::min(slice, clock_.instructions_until(due));
    granted_ = remaining = static_cast<i32>(slice);
    return true;
}

// Books what of the slice was used.
void Cpu::account(u64& budget_left) {
    const auto used = static_cast<u64>(granted_ - remaining);
    granted_ = remaining;
    instructions_ += used;
    if (budget_left != no_limit) budget_left -= std::min(budget_left, used);
    if (clock_.counts_instructions()) clock_.executed(used);
}

// What happens between instructions: injection, windows. True: leave.
bool Cpu::take_events() {
    return take_injected() || (pieces_.empty() && !take_debug_traps()) || take_windows() || (unit_ && unit_->take_interrupts());
}

const ExitRecord& Cpu::run(const RunLimits& limits) {
    const u64 began = Clock::host_ns();
    slice_end_ns_ = limits.host_slice_ns == no_limit ? no_limit : began + limits.host_slice_ns;
    stepping_ = limits.one;
    if (!admit()) return exit;
    enter();
    exit.kind = ExitKind::None;
    if (unit_) unit_->local.notice = {};
    RunLimits within = limits;
    if (timer_runs_) within.deadline_ns = std::min(within.deadline_ns, timer_end_ns_);
    dispatch(within);
    leave();
    if (exit.kind != ExitKind::None) stop_timer();
    run_ns_ += Clock::host_ns() - began;
    ++stats_.exits;
    return exit;
}

bool Cpu::finish() {
    if (pieces_.empty()) return true;
    enter();
    exit.kind = ExitKind::None;
    u64 unlimited = no_limit;
    granted_ = remaining = 1;
    run_one();
    account(unlimited);
    leave();
    return exit.kind == ExitKind::None;
}

void Cpu::dispatch(const RunLimits& limits) {
    u64 budget_left = limits.one ? 1 : limits.budget;
    granted_ = remaining = 0;
    bool first = true;
    if (take_injected()) return;  // an event that is injected comes before everything else
    for (;;) {
        if (requests.load(std::memory_order_relaxed) != 0) {
            if (attend()) break;
            if (unit_ && unit_->local.timer_set()) {  // it counts from here, and may be due before this slice ends
                account(budget_left);
                granted_ = remaining = 0;
                unit_->local.begin_count();
            }
        }
        if (remaining <= 0) {
            account(budget_left);
            if (!refill(limits, budget_left, first)) break;
            first = false;
        }
        if (activity != activity_waits && take_events()) break;
        if (activity != 0) {  // a new slice comes behind it, wherever the host's ends: counted time repeats exactly
            account(budget_left);
            granted_ = remaining = 0;
            if (wait_in_hlt(limits)) break;
            continue;
        }
        if (!(needs_single() ? run_one() : debug_.any_points() ? run_guarded() : run_blocks())) break;
        if (control(proc::monitor_trap)) {
            set_exit(ExitKind::MonitorTrap, Reason::MonitorTrap);
            break;
        }
    }
    account(budget_left);
}

bool Cpu::needs_single() const {
    return few_left_ || alone_ || control(proc::monitor_trap) || rflags & (flag::tf | flag::rf) || interruptibility & 3 || !pieces_.empty() || !trace_ring_.empty();
}

void Cpu::run_block(Block& block) {
    remaining -= block.count;
    block_ = &block;
    outcome_ = Outcome::Next;
    gpr[slot_block_rip] = rip;
    recent_ring_[recent_next_++ % recent_blocks] = {code_base_ + rip, block.mode, block.count};
    block.insns[0].handler(*this, block.insns);
}

// The fetch has failed at a boundary where something else comes first: it fails again when its turn is there.
bool Cpu::look_again() {
    fault_.pending = false;
    exit.kind = ExitKind::None;
    return true;
}

// Blocks until a request, the end of the slice, or something to handle. False: `exit` is set.
bool Cpu::run_blocks() {
    for (;;) {
        Block* block = find_block();
        const bool asked = requests.load(std::memory_order_relaxed) != 0;
        if (!block) [[unlikely]] return asked || remaining <= 0 ? look_again() : handle_stop();
        if (asked) return true;
        if (remaining < block->count) {
            few_left_ = remaining > 0;
            return true;
        }
        run_block(*block);
        if (outcome_ != Outcome::Next) [[unlikely]] return settle();
    }
}

// The next block to run by itself. While it was decoded this vCPU counted as outside: what others changed meanwhile is
// looked at before anything runs.
Block* Cpu::settled_block() {
    Block* block = find_block();
    while (block && requests.load(std::memory_order_seq_cst) & request::memory) {
        attend_memory();
        block = find_block();
    }
    return block;
}

// One instruction: the last few of a slice, one that runs again with its answers, or one with TF or an interrupt shadow.
bool Cpu::run_one() {
    bool go_on = true;
    if (debug_.any_points() && pieces_.empty() && !pass_breakpoints(go_on)) return go_on;
    few_left_ = alone_ = false;
    const u8 shadow = interruptibility & 3;
    const bool trap = rflags & flag::tf;
    const u64 resumes = rflags & flag::rf;  // for this instruction only
    const unsigned old_cpl = cpl;
    u64 next_rip = 0;
    rflags &= ~flag::rf;
    hits_ = 0;
    pieces_.rewind();
    posted_ = false;
    mode |= mode::single;
    update_stamp();
    Block* block = settled_block();
    if (block) {
        if (!trace_ring_.empty()) record_trace();
        next_rip = (rip + block->length) & code_mask();
        run_block(*block);
    }
    mode &= ~mode::single;
    update_stamp();
    if (!block) return handle_stop();
    const bool done = outcome_ == Outcome::Next || outcome_ == Outcome::Leave;
    if (done) interruptibility &= u8(~shadow);
    if (outcome_ == Outcome::Again || (outcome_ == Outcome::Stop && !fault_.pending)) rflags |= resumes;  // it is not over
    if (done) passed_.here = false;
    if (done || outcome_ == Outcome::Again)
        keep_traps(trap && steps_behind(next_rip, old_cpl));
    else
        hits_ = watched_.hit = 0;
    if (!settle()) {
        if (exit.kind == ExitKind::Exception) rflags |= resumes;
        return false;
    }
    return control(proc::monitor_trap) || take_debug_traps();  // the monitor trap comes before those of the guest
}

// What an instruction has come to. False: leave, `exit` is set.
bool Cpu::settle() {
    repeating_ = outcome_ == Outcome::Again;  // also when the REP before has ended since
    if (outcome_ == Outcome::Stop) return handle_stop();
    if (repeating_)
        pieces_.clear_log();
    else
        pieces_.clear();
    posted_ = false;
    if (hits_) [[unlikely]] keep_traps(false);
    if (late_.pending) [[unlikely]] {
        const Event late = late_;
        late_.pending = false;
        return deliver(late);
    }
    return exit.kind == ExitKind::None;
}

// A fault goes to the guest and costs one of the budget, so that a budget ends every run; an exit goes to the caller.
bool Cpu::handle_stop() {
    if (!fault_.pending) return unblocked_nmi_ = false, exit.kind == ExitKind::None;
    const Event event = fault_;
    fault_.pending = false;
    pieces_.clear();
    posted_ = false;
    --remaining;
    ++stats_.faults;
    const bool goes_on = deliver(event);
    unblocked_nmi_ = false;
    return goes_on;
}

void Cpu::kick() { notify(request::kick); }

void Cpu::record_trace() {
    trace_ring_[trace_next_++ % trace_ring_.size()] = {code_base_ + rip, code_base_, in_long64() ? 64u : mode & mode::code32 ? 32u : 16u};
}

void Cpu::trace(size_t keep) {
    trace_ring_.assign(keep, {});
    trace_next_ = 0;
}

std::vector<Cpu::TracedRip> Cpu::traced() const {
    std::vector<TracedRip> rips;
    const size_t size = trace_ring_.size();
    if (size == 0) return rips;
    for (size_t n = trace_next_ > size ? trace_next_ - size : 0; n < trace_next_; ++n) rips.push_back(trace_ring_[n % size]);
    return rips;
}

std::vector<Cpu::RecentBlock> Cpu::recent() const {
    std::vector<RecentBlock> blocks;
    for (u64 n = recent_next_ > recent_blocks ? recent_next_ - recent_blocks : 0; n < recent_next_; ++n)
        blocks.push_back(recent_ring_[n % recent_blocks]);
    return blocks;
}

}  // namespace silicon::x86
