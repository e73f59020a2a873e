// The interrupt controllers of one VM: I/O APIC, 8259 pair, and the ways from devices and processors to local APICs.
// Everything here may be called from any thread.
#pragma once

#include <mutex>
#include <vector>

#include "silicon/apic/io_apic.h"
#include "silicon/apic/local_apic.h"
#include "silicon/apic/pic.h"

namespace silicon::apic {

class Interrupts final : MessageSink {
  public:
    static constexpr u64 default_bus_hz = 25'000'000;  // the crystal of CPUID leaf 15H

    void join(LocalApic& local);
    void part(LocalApic& local);
    unsigned processors() const { return count_.load(std::memory_order_relaxed); }

    // True: some local APIC has taken it. INIT, start-up and SMI messages of a processor that reports go into its notice.
    bool send(const Message& message, LocalApic* from = nullptr);
    void set_pin(unsigned pin, bool high);
    void set_irq(unsigned irq, bool high);      // an ISA line: 8259, and the I/O APIC's pin
    void set_pic_line(unsigned irq, bool high);  // 8259 alone
    bool send_msi(u64 address, u64 data);
    void end_of_interrupt(u8 vector);
    void retry();

    u32 io_read(u64 offset);
    void io_write(u64 offset, u32 value);
    u8 pic_read(u16 port);
    void pic_write(u16 port, u8 value);
    u8 acknowledge_pic();

    IoState save_io();
    bool load_io(const IoState& saved);
    PicState save_pic(bool primary);
    bool load_pic(bool primary, const PicState& saved);

    u64 bus_hz() const { return bus_hz_.load(std::memory_order_relaxed); }
    void set_bus_hz(u64 hz) { bus_hz_.store(hz, std::memory_order_relaxed); }
    u64 earliest_due();  // of those that wait

  private:
    bool deliver(const Message& message) override { return route(message, nullptr); }
    bool route(const Message& message, LocalApic* from);
    bool to_least_busy(const Message& message, const LocalApic* from);
    bool report(const Message& message, LocalApic& from);
    static bool addressed(const Message& message, const LocalApic& local, const LocalApic* from);
    void pic_changed();

    std::mutex lock_;
    std::vector<LocalApic*> locals_;  // by index
    std::atomic<unsigned> count_{0};
    IoApic io_{*this};
    PicPair pic_;
    bool pic_output_ = false;
    std::atomic<u64> bus_hz_{default_bus_hz};
};

}  // namespace silicon::apic
