// A local APIC's saved state.
#include "silicon/apic/interrupts.h"
#include "silicon/apic/local_apic.h"
#include "silicon/apic/local_bits.h"

namespace silicon::apic {

LocalState LocalApic::save(bool waits_for_start_up) const {
    LocalState saved{};
    saved.apic_gpa = base_ & ~u64{0xfff};
    saved.apic_controls = controls;
    saved.tsc_deadline = tsc_deadline_;
    saved.apic_id = x2apic() ? index_ : index_ << 24;
    saved.ver = version_word;
    saved.tpr = tpr_;
    saved.ldr = x2apic() ? x2apic_ldr(index_) : ldr_;
    saved.dfr = dfr_;
    saved.svr = svr_;
    for (unsigned n = 0; n < 8; ++n) {
        saved.isr[n] = isr_[n];
        saved.tmr[n] = tmr_[n].load();
        saved.irr[n] = irr_[n].load();
        saved.aeoi[n] = aeoi_[n].load();
    }
    saved.esr = esr_;
    for (unsigned n = 0; n < lvt_count; ++n) saved.lvt[n] = lvt_[n];
    saved.icr[0] = u32(icr_);
    saved.icr[1] = u32(icr_ >> 32);
    saved.icr_timer = initial_count_;
    saved.dcr_timer = divide_;
    saved.ccr_timer = current_count(clock_.now_ns());
    if (timer_end_ != no_time && saved.ccr_timer == 0) saved.ccr_timer = 1;  // due, and nobody has looked: it is still to come
    saved.esr_pending = pending_errors_.load();
    saved.boot_state = waits_for_start_up ? boot_init : boot_running;
    return saved;
}

bool LocalApic::load(const LocalState& saved) {
    const u32 id = x2apic() ? index_ : index_ << 24;
    const bool fits = saved.apic_id == id && !(saved.apic_gpa & 0xfff) && !(saved.apic_controls & ~controls_known) && saved.tpr <= 0xff &&
                      !(saved.svr & ~svr::writable) && !(saved.dcr_timer & ~divide_bits) && saved.boot_state <= boot_running &&
                      saved.ccr_timer <= saved.icr_timer && !(saved.irr[0] & 0xffff) && !(saved.isr[0] & 0xffff);
    if (!fits) return false;
    base_ = (base_ & 0xfff) | saved.apic_gpa;
    controls = saved.apic_controls;
    tpr_ = u8(saved.tpr);
    ldr_ = saved.ldr & 0xff000000;
    dfr_ = saved.dfr | 0x0fffffff;
    svr_ = saved.svr;
    for (unsigned n = 0; n < 8; ++n) {
        isr_[n] = saved.isr[n];
        tmr_[n] = saved.tmr[n];
        irr_[n] = saved.irr[n];
        aeoi_[n] = saved.aeoi[n];
    }
    esr_ = saved.esr;
    for (unsigned n = 0; n < lvt_count; ++n) lvt_[n] = saved.lvt[n] & (lvt_bits(n) | lvt::status | lvt::remote_irr);
    icr_ = u64{saved.icr[1]} << 32 | saved.icr[0];
    initial_count_ = saved.icr_timer;
    count_waits_ = false;
    divide_ = saved.dcr_timer;
    timer_end_ = saved.ccr_timer ? clock_.now_ns() + ticks_to_ns(saved.ccr_timer) : no_time;
    tsc_deadline_ = saved.tsc_deadline;
    timer_set_ = true;
    pending_errors_ = saved.esr_pending;
    update_priority();
    publish();
    processor_.look();
    return true;
}

}  // namespace silicon::apic
