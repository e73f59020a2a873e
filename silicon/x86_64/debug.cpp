// Debug exceptions: breakpoints on instructions, data and ports, single steps. Nothing of it costs anything while nothing is
// armed: watched pages have no data tags in the TLB, so only accesses to them take the way that looks.
// Intel SDM vol. 3, "Debug Exceptions", "Debug Registers".
#include "silicon/x86_64/debug.h"

#include <algorithm>

#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {
namespace {

enum Kind : unsigned { execute = 0, write = 1, port = 2, access = 3 };
constexpr unsigned bytes_of_length[] = {1, 2, 8, 4};
constexpr u32 msr_debugctl = 0x1d9, debugctl_lbr = 1, debugctl_btf = 2;

u32 hits(const std::vector<Watch>& watches, u64 from, u64 to) {
    u32 found = 0;
    for (const Watch& w : watches)
        if (w.number != Watch::host && w.touches(from, to)) found |= u32{1} << w.number;
    return found;
}

}  // namespace

bool DebugUnit::set_guest(const u64* dr, bool port_breakpoints) {
    std::vector<Watch> watches;
    for (const Watch& w : watches_)
        if (w.number == Watch::host) watches.push_back(w);
    points_.clear();
    ports_.clear();
    for (int n = 0; n < 4; ++n) {
        if (!(dr[7] >> 2 * n & 3)) continue;
        const unsigned kind = dr[7] >> (16 + 4 * n) & 3, bytes = bytes_of_length[dr[7] >> (18 + 4 * n) & 3];
        const u64 first = dr[n] & ~u64(bytes - 1);
        const Watch w{first, first + bytes - 1, kind == access, kind == access || kind == write, n};
        if (kind == execute)
            points_.push_back({dr[n], dr[n], false, false, n});
        else if (kind != port)
            watches.push_back(w);
        else if (port_breakpoints)
            ports_.push_back(w);
    }
    std::swap(watches, watches_);
    return watches != watches_;
}

void DebugUnit::set_host_point(u64 linear, bool on) {
    if (on)
        host_points_.insert(linear);
    else
        host_points_.erase(linear);
}

bool DebugUnit::set_host_watch(const Watch& watch, bool on) {
    const auto found = std::find(watches_.begin(), watches_.end(), watch);
    if (on && found == watches_.end()) watches_.push_back(watch);
    if (!on && found != watches_.end()) watches_.erase(found);
    return on || found != watches_.end();
}

u32 DebugUnit::points_at(u64 linear) const { return hits(points_, linear, linear); }

bool DebugUnit::points_within(u64 first, u64 last) const {
    const auto host = host_points_.lower_bound(first);
    return (host != host_points_.end() && *host <= last) || hits(points_, first, last) != 0;
}

bool DebugUnit::watches_page(u64 linear) const {
    const u64 first = linear & ~page_offset_mask;
    return std::any_of(watches_.begin(), watches_.end(), [&](const Watch& w) { return w.touches(first, first | page_offset_mask); });
}

const Watch* DebugUnit::host_watch(u64 from, u64 to, bool write) const {
    for (const Watch& w : watches_)
        if (w.number == Watch::host && w.touches(from, to) && (write ? w.writes : w.reads)) return &w;
    return nullptr;
}

u32 DebugUnit::watches_at(u64 from, u64 to, bool write) const {
    u32 found = 0;
    for (const Watch& w : watches_)
        if (w.number != Watch::host && w.touches(from, to) && (write ? w.writes : w.reads)) found |= u32{1} << w.number;
    return found;
}

u32 DebugUnit::ports_at(u16 port, unsigned size_bytes) const { return hits(ports_, port, port + size_bytes - 1); }

// After a change of DR0 to DR3, DR7 or CR4.DE.
void Cpu::arm_debug() {
    if (debug_.set_guest(dr, cr4 & cr4::de)) flush_tlb();
    debug_armed_ = dr[7] & dr7::enables;
    request_event();
}

// The host's breakpoints; nothing of them is to be seen in the guest.
void Cpu::set_breakpoint(u64 linear, bool on) { debug_.set_host_point(linear, on); }

bool Cpu::set_watchpoint(u64 linear, u64 size_bytes, bool reads, bool writes, bool on) {
    const bool known = debug_.set_host_watch({linear, linear + size_bytes - 1, reads, writes, Watch::host}, on);
    flush_tlb();
    return known;
}

void Cpu::write_debug(unsigned number, u64 value) {
    dr[number] = number == 6 ? dr6::written(value) : number == 7 ? dr7::written(value) : value;
    if (number != 6) arm_debug();
}

// An access that the TLB did not serve. True: it must be made by an instruction that runs alone, for the trap behind it to
// be taken at once; the instruction stops, nothing of it has happened.
bool Cpu::touch(u64 at, unsigned size_bytes, bool write) {
    const u64 last = at + size_bytes - 1;
    const Watch* by_host = debug_.host_watch(at, last, write);
    const u32 by_guest = debug_.watches_at(at, last, write);
    if (!by_host && !by_guest) return false;
    if (!(mode & mode::single)) return alone_ = true;
    hits_ |= by_guest;
    if (by_host && !watched_.hit) watched_ = {true, write, u8(size_bytes), at};
    request_event();  // a repeated string instruction stops behind this iteration
    return false;
}

bool Cpu::touch_port(u16 port, unsigned size_bytes) {
    const u32 found = debug_.ports_at(port, size_bytes);
    if (!found) return false;
    if (!(mode & mode::single)) return alone_ = true;
    hits_ |= found;
    request_event();
    return false;
}

// Misaligned data accesses of user code fault while CR0.AM and EFLAGS.AC are set; before any page fault, as processors do.
bool Cpu::misaligned(u64 at, unsigned size_bytes) {
    if (!checks_alignment() || !(at & (size_bytes - 1))) return false;
    if (in_long64() && (!canonical(at) || !canonical(at + size_bytes - 1))) return false;  // #GP comes first
    raise(vector_ac, 0);
    return true;
}

Event Cpu::debug_event(u32 bits, bool fault) {
    Event event;
    event.pending = true;
    event.vector = vector_db;
    event.debug = bits;
    event.sets_rf = fault || repeating_;
    return event;
}

// DR6 says why, and what would disturb the handler is switched off. An injected #DB changes none of it.
void Cpu::note_debug(const Event& event) {
    if (event.vector != vector_db || event.debug == 0) return;
    dr[6] = (dr[6] & ~u64{dr6::breakpoints}) | event.debug;
    dr[7] &= ~dr7::gd;
    plain_msrs[msr_debugctl] &= ~u64{debugctl_lbr | debugctl_btf};
}

// General detect: MOV to or from a debug register while DR7.GD is set.
bool Cpu::debug_registers_guarded() {
    if (!(dr[7] & dr7::gd)) return false;
    fault_ = debug_event(dr6::bd, true);
    return true;
}

// Whether an instruction that began with EFLAGS.TF is trapped for it: with DEBUGCTL.BTF a branch only; not SYSCALL, where its
// mask has cleared TF; not a load of SS.
bool Cpu::steps_behind(u64 next_rip, unsigned old_cpl) {
    if (interruptibility & 2 || (cpl < old_cpl && !(rflags & flag::tf))) return false;
    return !(plain_msrs[msr_debugctl] & debugctl_btf) || rip != next_rip;
}

// What the instruction that is done has met becomes pending: it is taken at this boundary, or behind the next instruction
// where this one loaded SS, or after the exit that it made.
void Cpu::keep_traps(bool step) {
    if (hits_) vmcs.pending_debug |= hits_ | pending_enabled;
    if (step) vmcs.pending_debug |= dr6::bs;
    hits_ = 0;
}

// An exit while MOV SS blocks debug exceptions: the trap by EFLAGS.TF behind the next instruction is told as pending, as an
// entry with that blocking wants it. Not where the exit is a debug exception itself.
// Intel SDM vol. 3, "Saving Non-Register State"; "Checks on Guest Non-Register State".
void Cpu::leave_step() {
    const bool by_debug = exit.kind == ExitKind::Exception && (exit.interruption_info & 0xff) == vector_db;
    if (rflags & flag::tf && !(plain_msrs[msr_debugctl] & debugctl_btf) && !by_debug) vmcs.pending_debug |= dr6::bs;
}

void Cpu::report_watchpoint() {
    set_exit(ExitKind::Watchpoint, Reason::MonitorTrap);
    exit.gva = watched_.linear;
    exit.size_bytes = watched_.size_bytes;
    exit.value = watched_.write;
    watched_.hit = false;
}

// Traps that wait at this boundary. False: leave.
bool Cpu::take_debug_traps() {
    if (watched_.hit) return report_watchpoint(), false;
    if (!(vmcs.pending_debug & (pending_enabled | dr6::bs)) || interruptibility & 2) return true;
    const Event event = debug_event(u32(vmcs.pending_debug) & (dr6::breakpoints | dr6::bs), false);
    vmcs.pending_debug = 0;
    activity = 0;
    return deliver(event);
}

// Breakpoints on the instruction at RIP. False: there is one, and `go_on` says whether to run on (in the guest's handler).
bool Cpu::pass_breakpoints(bool& go_on) {
    const u64 linear = code_linear();
    if (debug_.host_point(linear) && !stepping_ && !(passed_.here && passed_.linear == linear)) {
        passed_ = {true, linear};
        set_exit(ExitKind::Breakpoint, Reason::MonitorTrap);
        exit.gva = linear;
        go_on = false;
        return false;
    }
    const u32 bits = debug_.points_at(linear);
    if (!bits || rflags & flag::rf || interruptibility & 2) return true;
    --remaining;  // like any fault: a handler that is a breakpoint itself ends with the budget
    go_on = deliver(debug_event(bits, false));
    return false;
}

// While a breakpoint is armed on code: block by block, and one at a time within a block that has one.
bool Cpu::run_guarded() {
    bool go_on = true;
    if (!pass_breakpoints(go_on)) return go_on;
    Block* block = settled_block();
    if (!block) return handle_stop();
    const u64 linear = code_linear();
    if (remaining < block->count || (block->length > 1 && debug_.points_within(linear + 1, linear + block->length - 1))) {
        alone_ = true;
        return true;
    }
    run_block(*block);
    passed_.here = false;
    return outcome_ == Outcome::Next || settle();
}

}  // namespace silicon::x86
