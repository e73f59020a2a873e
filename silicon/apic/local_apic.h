// The local APIC of one processor. Intel SDM vol. 3, chapter "Advanced Programmable Interrupt Controller (APIC)".
//
// Two kinds of threads use it. The one that runs the processor (or holds it while it stands) owns all registers. Any thread
// may post: set bits in IRR and TMR, ask for an NMI or ExtINT, and read the few words by which messages find their way.
#pragma once

#include <atomic>
#include <utility>

#include "silicon/apic/message.h"
#include "silicon/apic/state.h"
#include "silicon/clock.h"

namespace silicon::apic {

class Interrupts;

// What a local APIC asks of its processor. From any thread.
class Processor {
  public:
    virtual void look() = 0;  // something waits, or may do so now
    virtual void receive_init() = 0;
    virtual void receive_start_up(u8 vector) = 0;

  protected:
    ~Processor() = default;
};

// What a client has to finish, where it starts processors itself (Apple's functions). Numbered as hv_vm_exitinfo_t.
struct Notice {
    enum class Kind : u8 { None = 0, Exit = 1, InitAp = 2, StartUpAp = 3, IoApicEoi = 4, InjectException = 5, Smi = 6 };
    Kind kind = Kind::None;
    u8 vector = 0;
    u64 targets = 0;  // processors by index
};

// IA32_APIC_BASE.
inline constexpr u64 base_boot_processor = 1 << 8, base_x2apic = 1 << 10, base_enabled = 1 << 11;
inline constexpr u64 default_base = 0xfee00000;
inline constexpr u64 no_time = ~u64{0};
inline constexpr u32 msr_first = 0x800, msr_last = 0x8ff, msr_tsc_deadline = 0x6e0;

// hv_apic_ctrl_t.
inline constexpr u64 control_msrs = 1, control_idle = 2, control_no_timer = 4, control_io_eoi = 8, controls_known = 15;

class LocalApic {
  public:
    // `reports`: INIT, start-up and SMI messages of this processor, and what the controls ask for, become notices.
    LocalApic(Interrupts& hub, Processor& processor, Clock& clock, unsigned index, bool reports, const u64& tsc_offset);

    // ---- the owner ----
    void reset(u64 base);  // as after power-up
    void init();           // as INIT leaves it: identity and mode stay
    bool set_base(u64 value, unsigned gpa_bits, bool by_guest);  // IA32_APIC_BASE; false: #GP
    u64 base() const { return base_; }
    bool enabled() const { return base_ & base_enabled; }
    bool x2apic() const { return base_ & base_x2apic; }
    bool on_page(u64 gpa) const { return (base_ & (base_enabled | base_x2apic)) == base_enabled && (gpa ^ base_) >> 12 == 0; }
    u32 read(u32 offset);
    void write(u32 offset, u32 value);
    bool read_msr(u32 msr, u64& value);  // 800H to 8FFH and the TSC deadline; false: #GP
    bool write_msr(u32 msr, u64 value);
    void set_task_priority(u8 value);
    u8 task_priority() const { return tpr_; }
    void end_of_interrupt();
    void attend();         // to what other threads have left for the owner
    int waiting() const;   // the vector that may interrupt now, or -1
    void take(u8 vector);  // it goes into service
    bool takes_ext_int() const;  // the 8259 pair has something for this processor
    bool queue_ext_int() { return !ext_int_.exchange(true, std::memory_order_relaxed); }  // false: one waits already
    void took_ext_int() { ext_int_.store(false, std::memory_order_relaxed); }
    bool nmi_waits() const { return nmi_.load(std::memory_order_relaxed); }
    void take_nmi() { nmi_.store(false, std::memory_order_relaxed); }
    u64 timer_due(u64 now) const;  // no_time: never
    void run_timer(u64 now);       // interrupts when it is due
    void trigger_timer();          // the timer's entry of the vector table, as if it were due
    bool timer_set() { return std::exchange(timer_set_, false); }  // since it was asked last
    void begin_count();            // what was written as the initial count runs from now on
    u64 controls = 0;
    Notice notice;
    LocalState save(bool waits_for_start_up) const;
    bool load(const LocalState& saved);  // false: no such state, and nothing has changed
    // What a state of Apple's has no room for: bit 0 an NMI waits, bit 1 an ExtINT.
    u32 waiting_lines() const { return u32(nmi_.load()) | u32(ext_int_.load()) << 1; }
    void set_waiting_lines(u32 bits) { nmi_.store(bits & 1), ext_int_.store(bits >> 1 & 1); }

    // ---- any thread ----
    unsigned index() const { return index_; }
    bool reports() const { return reports_; }
    bool matches(const Message& message) const;
    u8 arbitration_priority() const { return ppr_.load(std::memory_order_relaxed); }
    bool accepts_fixed() const { return route_.load(std::memory_order_acquire) & route_software; }
    bool post(const Message& message);  // false: not accepted
    void set_ext_line(bool high);       // the output of the 8259 pair
    std::atomic<u64> next_due{no_time};  // while it waits: when by itself it goes on

  private:
    static constexpr u32 route_enabled = 1, route_x2apic = 2, route_software = 4, route_flat = 8;
    enum Lvt : u8 { lvt_cmci, lvt_timer, lvt_thermal, lvt_counters, lvt_lint0, lvt_lint1, lvt_error, lvt_count };

    using Bits = std::atomic<u32>[8];
    static int highest(const Bits& bits);
    static int highest(const u32 (&bits)[8]);
    void publish();
    void update_priority();
    void post_vector(u8 vector, Trigger trigger);
    void raise_local(Lvt entry);
    void note_error(u32 bit);
    void set_spurious(u32 value);
    void set_lvt(Lvt entry, u32 value);
    static bool lvt_at(u32 offset, Lvt& entry);
    static u32 lvt_bits(unsigned entry);
    void command(u64 icr, bool wide);
    void self_interrupt(u8 vector);
    void start_timer(u32 initial);
    void set_divider(u32 value);
    u32 current_count(u64 now) const;
    u64 ticks_to_ns(u64 ticks) const;
    u64 ns_to_ticks(u64 ns) const;
    unsigned divider() const;
    u32 timer_mode() const { return lvt_[lvt_timer] >> 17 & 3; }
    bool msr_takes(u32 offset, u64 value) const;

    Interrupts& hub_;
    Processor& processor_;
    Clock& clock_;
    const unsigned index_;
    const bool reports_;
    const u64& tsc_offset_;

    u64 base_ = 0;
    u8 tpr_ = 0;
    u32 svr_ = 0xff, dfr_ = ~u32{0}, ldr_ = 0, esr_ = 0;
    u32 isr_[8] = {};
    u32 lvt_[lvt_count] = {};
    u64 icr_ = 0;
    u32 initial_count_ = 0, divide_ = 0;
    u64 timer_end_ = no_time;  // on the VM's clock, of the count
    u64 tsc_deadline_ = 0;
    bool timer_set_ = false, count_waits_ = false;

    Bits irr_ = {}, tmr_ = {}, aeoi_ = {};
    std::atomic<u32> pending_errors_{0}, local_events_{0};
    std::atomic<bool> nmi_{false}, ext_int_{false}, ext_line_{false};
    // For senders: how it is addressed.
    std::atomic<u32> route_{0}, route_ldr_{0};
    std::atomic<u8> ppr_{0};
};

}  // namespace silicon::apic
