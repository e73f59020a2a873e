// One virtual processor: its state, what runs it, and what instruction handlers may ask of it.
//
// Handlers read, compute, store, then commit (see `Outcome`): until an access has said Next or Leave nothing of the
// state has changed, so an instruction that faults or exits has not happened.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "silicon/x86_64/cpu_parts.h"

namespace silicon::apic { class Interrupts; }

namespace silicon::x86 {

struct Descriptor;
struct Gate;
struct CallTarget;
struct FrameStack;
struct TaskState;
struct TaskSegment;

class Cpu : public CpuParts {
  public:
    Cpu(GuestMemory& memory, Clock& clock, unsigned index, bool raw);
    ~Cpu();
    void attach(apic::Interrupts& interrupts);  // once, before it runs: it gets a local APIC
    Cpu(const Cpu&) = delete;
    Cpu& operator=(const Cpu&) = delete;

    // ---- from outside ----
    const ExitRecord& run(const RunLimits& limits);
    const char* entry_problem() const;  // raw: which rule the control fields break, or null
    bool finish();  // runs the answered instruction only; true: it is done, false: `exit` has its next piece
    void kick();    // from any thread; sticky
    // INIT and start-up messages of an interrupt controller, from any thread; taken at the next boundary within `run`.
    void send_init();
    void send_start_up(u8 vector);
    void answer(u64 value);
    void answer_bytes(const u8* bytes, size_t size);
    void refuse();
    bool unanswered() const { return unanswered_; }
    // What the unfinished instruction has been answered so far, for a saved state; an exit that waits comes again.
    std::vector<u8> unfinished() const { return pieces_.image(); }
    bool resume(const u8* bytes, size_t size) { return unanswered_ = posted_ = false, pieces_.restore(bytes, size); }
    void abandon();  // forget the unfinished instruction: somebody moved RIP
    void inject(const Event& event) {  // both faces: what waits stands in the VMCS, and is part of the saved state
        vmcs.entry_info = event.info();
        vmcs.entry_error = event.error;
    }
    void reset_fresh(), power_up();
    void reset_hardware();  // Intel SDM vol. 3, "Processor State After Reset"
    bool translate(u64 linear, Access access, u64& gpa);  // without a fault, without accessed and dirty bits
    void forget_translations();
    void forget_code() { blocks_.drop_all(); }  // decoded under another CPUID
    void state_changed();  // after writes from outside: modes, TLB context, lazy flags
    void write_control(u64& which, u64 value);  // CR0, CR3, CR4 or EFER from outside, unchecked
    const char* state_problem();  // why this state could not be entered, or null
    unsigned index() const { return index_; }
    bool raw() const { return raw_; }
    u64 instructions() const { return instructions_; }
    u64 run_ns() const { return run_ns_ - idle_ns_; }
    u64 idle_ns() const { return idle_ns_; }  // it waited within `run`
    InterruptUnit* unit() const { return unit_.get(); }  // null: there are no interrupt controllers
    void notify(u32 request);  // from any thread: bits of namespace request
    // Where somebody else executes the instructions; outside.h, outside.cpp.
    void run_outside(Interrupter* who);
    u32 look_outside(u32 can, u64 task_priority);
    void take_messages_outside();
    void wait_outside(u64 deadline_ns, u64 most_ns);
    u64 due_outside() const;  // when its APIC timer has something to do
    RunStats stats() const;

    ExitRecord exit;
    CpuidTable cpuid;
    Vmcs vmcs;
    std::map<u32, u64> plain_msrs;  // those that are only kept
    std::set<u32> exiting_msrs;
    bool unknown_msrs_exit = false;
    bool cpuid_exits = false;
    std::set<u32> native_msrs;
    std::map<u32, u8> managed_msrs;  // those that are bound → what the guest may do without an exit: 1 read, 2 write
    u64 tsc_offset = 0;

    // By the numbers of spec/api: HV_X86_* registers and VMCS fields. False: there is no such one.
    bool read_register(unsigned reg, u64& value) const;
    bool write_register(unsigned reg, u64 value);
    bool read_vmcs(u32 field, u64& value) const;
    bool write_vmcs(u32 field, u64 value);
    // RDMSR and WRMSR from outside: without exits and refusals by privilege.
    bool read_msr(u32 msr, u64& value);
    bool write_msr(u32 msr, u64 value);

    void trace(size_t keep);
    std::vector<TracedRip> traced() const;
    // Where the last blocks began, oldest first, and of how many instructions they are: kept always, two stores a block.
    std::vector<RecentBlock> recent() const;

    // ---- for handlers: registers ----
    template <class T>
    SILICON_INLINE T get(u8 byte_offset) const {
        return load_host<T>(reinterpret_cast<const u8*>(this->gpr) + byte_offset);
    }
    template <class T>
    SILICON_INLINE void set(u8 byte_offset, T value) {
        if constexpr (sizeof(T) == 4)
            store_host<u64>(reinterpret_cast<u8*>(this->gpr) + byte_offset, value);
        else
            store_host<T>(reinterpret_cast<u8*>(this->gpr) + byte_offset, value);
    }
    template <class T>
    SILICON_INLINE void set_gpr(Gpr which, T value) {
        set<T>(static_cast<u8>(which * 8), value);
    }
    bool in_long64() const { return mode & mode::long64; }
    bool in_protected() const { return mode & mode::protected_; }
    u64 code_mask() const { return in_long64() ? ~u64{0} : mode & mode::code32 ? 0xffffffff : 0xffff; }
    u64 next_rip(const Insn& in) const { return gpr[slot_block_rip] + in.offset + in.length; }

    // ---- for handlers: memory ----
    u64 effective(const Insn& in) const;
    u64 offset_of(const Insn& in) const;  // within the segment, as LEA gives it
    template <class T>
    Linear linear(const Insn& in, Access access);
    Linear general_linear(const Insn& in, unsigned size_bytes, Access access);
    // The same for an offset that is already cut to its width (stack, string instructions).
    Linear segment_linear(Seg which, u64 offset, unsigned size_bytes, Access access);
    Linear segment_linear_quiet(Seg which, u64 offset, unsigned size_bytes, Access access) const;  // raises nothing

    template <class T>
    Loaded<T> load(u64 at);
    template <class T>
    [[nodiscard]] Outcome store(u64 at, T value);
    // A place to read, change and write back: guest memory itself, or the stage, or null after a fault. Translated for
    // writing at once. What was written to the stage goes out with `commit`.
    template <class T>
    u8* place(u64 at);
    [[nodiscard]] SILICON_INLINE Outcome commit(const u8* place) {
        return place == stage_ ? commit_stage() : Outcome::Next;
    }
    // The same for LOCK: guest memory itself also where the page holds code. Over a page edge there is no host atomic: the
    // access holds the memory's one exclusive section from here to `commit_locked`.
    template <class T>
    u8* place_locked(u64 at);
    [[nodiscard]] SILICON_INLINE Outcome commit_locked(const u8* place) {
        return place == stage_ ? commit_stage() : locked_bytes_ ? look_at_locked() : Outcome::Next;
    }
    // A host pointer when `size_bytes` from here lie in one page of plain memory, else null without any effect.
    u8* direct(u64 at, u64 size_bytes, Access access);
    // Whether all bytes could be written now: raises the fault if not. For instructions with several stores.
    bool probe_write(u64 at, unsigned size_bytes);
    bool probe_read(u64 at, unsigned size_bytes);
    // Loads, stores and places look for themselves. True: #AC is raised.
    bool misaligned(u64 at, unsigned size_bytes);
    // Supervisor accesses of the processor itself: descriptor tables, task-state segment.
    template <class T>
    Loaded<T> system_load(u64 at) {
        const Slow slow = system_access(at, sizeof(T), false, 0);
        return {T(slow.value), slow.outcome == Outcome::Next};
    }
    template <class T>
    bool system_store(u64 at, T value) {
        return system_access(at, sizeof(T), true, value).outcome == Outcome::Next;
    }

    // ---- for handlers: x87 and SIMD ----
    // As FXSAVE and XSAVE have it in memory. What is set is cut to what registers can hold.
    FxState fx_image() const;
    void set_fx_image(const FxState& image);
    std::vector<u8> xsave_image() const;
    void set_xsave_image(const u8* bytes, size_t size);
    static const char* xsave_problem(const u8* bytes, size_t size);  // what XRSTOR would refuse of it, or null
    u8* xmm(u8 place) { return fx.xmm[0] + place; }  // `place`: 16 times the number, as Insn::reg has it
    u64 components_in_use() const;  // bit 0 x87, bit 1 SSE: what is not in its initial state
    // While the guest runs, the host's MXCSR has the guest's modes with all exceptions masked, and gathers the flags.
    u32 mxcsr();
    void set_mxcsr(u32 value);
    // Behind a floating-point operation, before its result is stored. True: it is not to be stored, #XM or #UD is raised.
    SILICON_INLINE bool float_faulted() { return float_traps_ && float_trap(); }
    bool float_traps() const { return float_traps_; }  // some SIMD floating-point exception is not masked
    // The same for operations that round, and for dot products: only while `float_traps`.
    SILICON_COLD bool float_trap(const FloatOperation& what);
    SILICON_COLD bool dot_trap(Lanes lanes, Vec a, Vec b, unsigned selected);
    // The host's x87 unit, from the first instruction that uses it to the end of the run. Ready: it has the guest's control
    // word with all exceptions masked, and no exception flag that the guest's status word has not.
    SILICON_INLINE void ready_x87() {
        if (!x87_ready_) [[unlikely]] prepare_x87();
    }
    void lend_x87();
    void x87_changed() { x87_ready_ = false; }  // the guest's control word, or its flags cleared

    // ---- for handlers: what can go wrong; all return Stop ----
    SILICON_COLD Outcome raise(Vector vector);
    SILICON_COLD Outcome raise(Vector vector, u32 error);
    SILICON_COLD Outcome stack_fault();  // an access to the stack has faulted: #GP of its address is #SS
    SILICON_COLD Outcome raise_page_fault(u64 linear, u32 error);
    SILICON_COLD Outcome software_event(u8 vector, EventType type, const Insn& in);
    SILICON_COLD Outcome stop_with(ExitKind kind, Reason reason, u64 qualification = 0);  // an exit before the instruction
    SILICON_COLD Outcome leave_with(ExitKind kind, Reason reason);                         // an exit behind it

    // ---- for handlers: devices and the system ----
    // `form` has the bits of the exit qualification that say how: string 1 << 4, REP 1 << 5, immediate port 1 << 6.
    Slow port_in(u16 port, unsigned size_bytes, u32 count, u32 form);
    Outcome port_out(u16 port, unsigned size_bytes, u32 value, u32 form);
    // Items of REP OUTS that lie together; posted like one store.
    Outcome port_out_many(u16 port, unsigned size_bytes, const u8* data, u32 data_bytes);
    bool port_allowed(u16 port, unsigned size_bytes);  // IOPL and the I/O permission bitmap; raises #GP(0)
    Slow rdmsr(u32 msr);
    Outcome wrmsr(u32 msr, u64 value);
    bool get_msr(u32 msr, u64& value);
    // The host's; with a clock that counts instructions it follows from how many there were. None: the host has none.
    std::optional<u64> random_number(const Insn& in);
    bool set_msr(u32 msr, u64 value);
    bool set_efer(u64 value);
    u64 tsc() const { return clock_.now_ns() + tsc_offset; }
    bool control(u32 bit) const { return vmcs.proc & bit; }  // a bit of namespace proc
    bool control2(u32 bit) const { return vmcs.proc2 & bit; }  // of namespace proc2
    void request_event() { requests.fetch_or(request::event, std::memory_order_relaxed); }

    // ---- for handlers: VMX ----
    bool cr3_load_exits(u64 value) const;
    bool tpr_below_threshold() const { return control(proc::tpr_shadow) && cr8 < (vmcs.tpr_threshold & 0xf); }
    u64 guest_cr0() const { return (cr0 & ~vmcs.cr0_mask) | (vmcs.cr0_shadow & vmcs.cr0_mask); }  // as the guest reads it
    u64 guest_cr4() const { return (cr4 & ~vmcs.cr4_mask) | (vmcs.cr4_shadow & vmcs.cr4_mask); }
    // An exit of an instruction with a ModRM operand; `info` is what its instruction information has beside that.
    SILICON_COLD Outcome operand_exit(const Insn& in, Reason reason, u32 info, bool memory);
    SILICON_COLD Outcome descriptor_exit(const Insn& in, Reason reason, unsigned identity, bool memory, unsigned operand_bytes);
    void keep_task_priority(u64 value);
    Outcome set_task_priority(u64 value);  // CR8, with the exit by its threshold
    void note_string_exit(const Insn& in, u64 linear);  // of INS and OUTS
    bool monitor_armed = false;  // by MONITOR, for MWAIT
    void nap();

    // ---- for handlers: control flow and modes ----
    SILICON_INLINE void jump(u64 target) { rip = target & code_mask(); }
    Outcome jump_checked(u64 target);  // #GP(0) where the target is not canonical or beyond the limit
    bool load_system_segment(Seg which, u16 selector);  // LLDT, LTR
    bool has_descriptors();  // #UD in real and virtual-8086 mode
    std::optional<u64> descriptor_place(u16 selector) const;  // where its table has it, if it has
    void enter_flat(const Segment& cs, const Segment& ss);   // SYSENTER and its kind: nothing is read or checked
    bool load_segment(Seg which, u16 selector);  // MOV and POP to a segment register, LDS and the like
    Outcome far_jump(u16 selector, u64 target, unsigned operand_bytes);
    Outcome far_call(u16 selector, u64 target, unsigned operand_bytes, const Insn& in);
    Outcome far_return(unsigned operand_bytes, u16 release_bytes);
    Outcome interrupt_return(unsigned operand_bytes);
    Outcome set_cr0(u64 value);
    Outcome set_cr3(u64 value);
    Outcome set_cr4(u64 value);
    Outcome invalidate(u64 type, u64 pcid, u64 linear);  // INVPCID
    void write_debug(unsigned number, u64 value);
    bool debug_registers_guarded();  // DR7.GD: raises #DB
    void set_rflags(u64 value, u64 changeable);  // the arithmetic ones into `lazy`
    u64 all_rflags() const { return (rflags & ~flag::arithmetic) | lazy.bits() | flag::always; }
    bool interrupts_enabled() const { return rflags & flag::intf; }
    void update_mode();
    void update_stamp() { stamp_ = u64{epoch_} << 32 | (mode & mode::decoding); }
    void update_tlb_context();
    void flush_tlb();             // all of it
    void flush_address_space();   // all but global pages
    void flush_page(u64 linear);
    // Linear addresses of the paging mode in use; those that registers hold reach as far as the processor can.
    bool canonical(u64 at) const { return is_canonical(at, cr4 & cr4::la57); }
    bool canonical_base(u64 at) const { return is_canonical(at, cpuid.has(Feature::LA57)); }
    static constexpr bool is_canonical(u64 at, bool five_levels) {
        const unsigned unused = five_levels ? 7 : 16;
        return u64(i64(at << unused) >> unused) == at;
    }

    // Stack accesses by the stack's width; `position` counts items from the top.
    u64 stack_mask() const { return in_long64() ? ~u64{0} : mode & mode::stack32 ? 0xffffffff : 0xffff; }
    void set_sp(u64 value);
    Loaded<u64> stack_load(u64 above_top, unsigned size_bytes);
    Outcome stack_store(u64 below_top, u64 value, unsigned size_bytes);
    Outcome push(u64 value, unsigned size_bytes);

    // REP: whether another iteration may start; takes it from `remaining`. TF traps after each one.
    bool another_iteration();
    // How many more iterations may be done at once.
    SILICON_INLINE u64 spare_iterations() const {
        if (requests.load(std::memory_order_relaxed) != 0 || remaining <= 0) return 0;
        return u64(remaining);
    }
    void commit_iteration() {
        if (!pieces_.empty()) pieces_.clear_log();
    }
    Pieces& pieces() { return pieces_; }
    GuestMemory& memory() { return *memory_; }
    void move_to(GuestMemory& memory);  // between runs; it has to outlive the vCPU, or the next move

    // Breakpoints of whoever runs the guest, by linear address. False: there was no such watchpoint to take away.
    void set_breakpoint(u64 linear, bool on);
    bool set_watchpoint(u64 linear, u64 size_bytes, bool reads, bool writes, bool on);

    // ---- for the threaded code ----
    SILICON_COLD void stopped(const Insn* in, Outcome outcome);  // by an instruction within a block
    SILICON_COLD void ended(const Insn* in, Outcome outcome);    // by the last one, which sets `rip` itself

  private:
    // run.cpp
    void enter();
    void leave();
    void dispatch(const RunLimits& limits);
    bool attend();
    void attend_memory();
    Block* settled_block();
    bool take_events();
    void account(u64& budget_left);
    bool refill(const RunLimits& limits, u64 budget_left, bool first);
    bool needs_single() const;
    bool run_one();
    bool run_blocks();
    void run_block(Block& block);
    bool look_again();
    bool settle();
    bool handle_stop();
    bool take_messages(u32 seen);
    void init();
    void start_up(u8 vector);
    void unblock_init();
    bool over(const RunLimits& limits);
    void set_exit(ExitKind kind, Reason reason);
    void next_epoch();
    void reset_msrs();
    void record_trace();

    // float_state.cpp
    void borrow_float();
    void return_float();
    SILICON_COLD bool float_trap();
    bool settle_float(u32 raised);
    SILICON_COLD void prepare_x87();

    // waiting.cpp
    u64 most_wait_ns(const RunLimits& limits) const;
    void sleep(u64 most_ns), let_time_pass(const RunLimits& limits);
    bool wait_in_hlt(const RunLimits& limits);

    friend class InterruptUnit;
    bool on_unit_page(u64 gpa) const, unit_owns_port(u16 port) const, unit_owns_msr(u32 number) const;
    u64 timer_due() const;
    void run_timer();

    // vmx_entry.cpp
    const char* msr_problem(bool ia32e) const;
    const char* plain_problem() const;
    void write_pdpte(unsigned n, u64 value);
    const char* bad_guest_state(u64& qualification) const;
    void take_entry_mode();
    bool admit();
    void inject_from_vmcs();

    // vmx_exits.cpp
    bool take_injected();
    bool take_windows();
    void stop_timer();
    bool bitmap_bit(u64 gpa, u64 bit) const;
    bool port_exits(u16 port, unsigned size_bytes) const;
    bool msr_exits(u32 msr, bool write) const;
    void watch_apic_page();
    bool on_apic_page(u64 gpa) const { return apic_watched_ && (gpa & ~page_offset_mask) == apic_page_; }
    void apic_access(u64 gpa, u64 at, Access access, bool walking);
    bool task_priority_access(u64 gpa, unsigned size_bytes) const;

    // fetch.cpp
    Block* find_block();
    bool unchanged(Block& block, u64 linear);
    Block* look_up(u64 linear);
    Block* within_limit(Block* block, u64 linear, u64 gpa);
    bool still_valid(Block& block, u64 linear);
    Block* build_block(u64 linear, u64 gpa);
    bool gather(u64 linear, u64 gpa, u8* bytes, size_t& size, u64& second_gpa);
    void drop_stale_code();

    // control.cpp
    bool cr0_allowed(u64 value) const;
    bool cr4_allowed(u64 value) const;
    bool cr4_runs(u64 value) const;

    // debug.cpp
    void arm_debug();
    bool watches_page(u64 linear) const { return debug_.any_watches() && debug_.watches_page(linear); }
    bool touch(u64 at, unsigned size_bytes, bool write);
    bool touch_port(u16 port, unsigned size_bytes);
    bool checks_alignment() const { return tlb_table_ == &tlbs_[static_cast<unsigned>(TlbContext::UserAligned)]; }
    Event debug_event(u32 bits, bool fault);
    void note_debug(const Event& event);
    bool steps_behind(u64 next_rip, unsigned old_cpl);
    void keep_traps(bool step);
    void leave_step();
    void report_watchpoint();
    bool take_debug_traps();
    bool pass_breakpoints(bool& go_on);
    bool run_guarded();
    u64 code_linear() const { return in_long64() ? rip : u32(code_base_ + rip); }

    // memory.cpp
    struct Translated {
        u64 gpa = 0;
        u8* host = nullptr;  // null: a device
        bool ok = false;
    };
    struct Step {  // one entry on the way through the tables
        u64 place, entry;
        u8 bytes;
    };
    struct Walk {
        u64 gpa = 0;
        bool writable = false, executable = false, dirty = false, user = false, global = false;
        bool ok = false;
        bool again = false;  // an entry changed under the walk
        u8 size_shift = page_shift, steps = 0;
        Step path[5];
    };
    Privilege by_cpl() const { return cpl == 3 ? Privilege::User : Privilege::Supervisor; }
    Translated reach(u64 at, Access access, Privilege as, unsigned size_bytes = 1, bool own = false);
    Translated reach_untimed(u64 at, Access access, Privilege as, unsigned size_bytes, bool own);
    void remember(u64 at, Access access, const Translated& t, const Walk& w, PageEntry page);
    Slow slow_load(u64 at, unsigned size_bytes);
    Outcome slow_store(u64 at, u64 value, unsigned size_bytes);
    bool slow_load_vec(u64 at);  // into `wide_`
    Outcome slow_store_vec(u64 at, Vec value);
    u8* slow_place(u64 at, unsigned size_bytes, bool locked = false);
    u8* slow_place_locked(u64 at, unsigned size_bytes);
    Outcome commit_stage();
    Outcome look_at_locked();
    Slow system_access(u64 at, unsigned size_bytes, bool write, u64 value, Privilege as = Privilege::System);
    bool system_reach(u64 at, unsigned size_bytes, Access access);
    Slow load_part(const Translated& t, u64 at, unsigned size_bytes);
    Outcome store_part(const Translated& t, u64 at, u64 value, unsigned size_bytes);
    Slow device_load(u64 gpa, u64 at, unsigned size_bytes);
    Outcome device_store(u64 gpa, u64 at, u64 value, unsigned size_bytes);
    Outcome ept_violation(u64 gpa, u64 at, Access access, bool walking);

    // paging.cpp
    Walk walk(u64 at, Access access, Privilege as, bool quiet);
    Walk walk_tables(u64 at, Access access, Privilege as, bool quiet);
    bool walk_allows(const Walk& w, Access access, Privilege as, bool quiet) const;
    bool mark_entries(Walk& w, u64 at, bool write);
    bool read_entry(u64 place, u64 at, unsigned bytes, bool quiet, u64& entry);
    Outcome load_pdptes(u64 from_cr3);
    u64 pdpte(unsigned n) const;
    void settle_pdptes();
    bool pdptes_valid() const;
    bool has_pdptes(u64 of_cr0, u64 of_cr4) const { return of_cr0 & cr0::pg && of_cr4 & cr4::pae && !(efer & efer::lme); }

    // segments.cpp, transfers.cpp
    bool read_descriptor(u16 selector, Vector vector, Descriptor& d, u64& place);
    bool mark_accessed(Descriptor& d, u64 place);
    bool load_null(Seg which, u16 selector);
    void update_mode_if_needed();
    void set_code_segment(const Segment& cs, unsigned new_cpl);
    bool fits_code(u64 target, const Segment& cs);
    bool target_descriptor(u16 selector, Descriptor& d, u64& place);
    bool plain_code(u16 selector, Descriptor& d, u64 place);
    Outcome enter_code(const Segment& cs, unsigned new_cpl, u64 target);
    Outcome far_jump_real(u16 selector, u64 target);
    Outcome push_and_enter(const Segment& cs, u64 target, unsigned operand_bytes, u64 back);

    // returns.cpp
    bool stack_segment(u16 selector, unsigned new_cpl, bool to_long, Segment& ss);
    Outcome return_to(u64 target, u16 selector, unsigned operand_bytes, unsigned popped, unsigned release, bool with_stack);
    Outcome return_interrupt(unsigned operand_bytes);
    Outcome return_real(unsigned operand_bytes, u64 changeable);
    Outcome return_to_virtual8086(u64 target, u16 selector, u64 flags);
    void drop_inner_segments();

    // gates.cpp
    bool inner_stack(unsigned new_cpl, FrameStack& stack);
    bool inner_stack_long(u32 tss_offset, u64& sp);
    bool room_on(const FrameStack& stack, unsigned items, unsigned size_bytes);
    bool push_on(FrameStack& stack, u64 value, unsigned size_bytes);
    bool push_at(u64 at, u64 value, unsigned size_bytes, unsigned as_cpl);
    bool gate_open(u16 selector, const Descriptor& d);
    bool call_gate(u16 selector, const Descriptor& d, u64 place, CallTarget& to);
    Outcome jump_system(u16 selector, const Descriptor& d, u64 place);
    Outcome call_system(u16 selector, const Descriptor& d, u64 place, u64 back);
    Outcome call_inner(const CallTarget& to, u64 back);
    Outcome call_inner_long(const CallTarget& to, u64 back);
    Outcome call_same_long(const CallTarget& to, u64 back);

    // tasks.cpp
    enum class TaskBy : u8 { Call, Return, Jump, Event };  // numbered as in the exit qualification
    enum class Switched : u8 { Refused, Done, Faulted };   // Faulted: in the new task, before its first instruction
    Outcome transfer_task(u16 selector, const Descriptor& d, TaskBy by);
    Outcome after_switch(Switched switched);
    Outcome return_from_task();
    bool deliver_task(const Event& event, const Gate& gate);
    bool free_task(u16 selector, TaskSegment& task);
    Switched switch_task(const TaskSegment& task, TaskBy by, u64 back, u64 flags);
    bool read_task_state(const TaskSegment& task, TaskState& state);
    bool task_writable(const TaskSegment& task, TaskBy by);
    void save_task(u64 back, u64 flags);
    void swap_tasks(const TaskSegment& task, TaskBy by, u64 back, u64 flags);
    bool load_task(const TaskState& state);
    bool load_task_ldt(u16 selector);
    bool load_task_code(u16 selector);
    bool load_task_stack(u16 selector);
    bool load_task_data(Seg which, u16 selector);
    void set_virtual8086(Seg which, u16 selector);

    // interrupts.cpp
    bool deliver(Event event, bool injected = false);
    bool deliver_once(const Event& event);
    bool deliver_real(const Event& event);
    bool deliver_protected(const Event& event);
    bool deliver_long(const Event& event);
    bool intercepted(const Event& event);
    u32 info_told(const Event& event) const;
    bool read_gate(const Event& event, unsigned gate_bytes, Gate& gate);
    bool handler_segment(u16 selector, bool long_mode, Segment& cs, unsigned& new_cpl);
    bool handler_stack(const Gate& gate, unsigned new_cpl, u64& sp);
    bool push_frame(const Event& event, FrameStack& stack, unsigned size_bytes, const Segment& cs, u64 target);
    u64 return_rip(const Event& event) const;
    u64 pushed_flags(const Event& event) const;
    static bool pushes_error(const Event& event);
    void enter_handler(const Segment& cs, unsigned new_cpl, u64 target, bool trap_gate);
};

// What POPF may change now.
u64 flags_for_pop(const Cpu& cpu, unsigned operand_bytes);

}  // namespace silicon::x86

#include "silicon/x86_64/cpu_access.h"
