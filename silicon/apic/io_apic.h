// The I/O APIC: 24 pins, each with the interrupt that it sends. Intel, "82093AA I/O Advanced Programmable Interrupt Controller";
// "I/O Controller Hub 9", "APIC Registers", for the EOI register.
#pragma once

#include "silicon/apic/message.h"
#include "silicon/apic/state.h"

namespace silicon::apic {

// Who carries messages on. True: some local APIC has taken it.
class MessageSink {
  public:
    virtual bool deliver(const Message& message) = 0;

  protected:
    ~MessageSink() = default;
};

class IoApic {
  public:
    static constexpr unsigned pins = 24;
    static constexpr u64 address = 0xfec00000;

    explicit IoApic(MessageSink& sink) : sink_(sink) { reset(); }
    void reset();
    void set_pin(unsigned pin, bool high);
    void end_of_interrupt(u8 vector);
    void retry();  // level interrupts that nobody has taken
    u32 read(u64 offset) const;
    void write(u64 offset, u32 value);
    IoState save() const;
    bool load(const IoState& saved);  // false: no such state, and nothing has changed
    static Message message_of(u64 entry);

  private:
    u32 read_register() const;
    void write_register(u32 value);
    void write_entry(unsigned pin, bool high_half, u32 value);
    void send(unsigned pin);

    MessageSink& sink_;
    u64 entries_[pins];
    u32 levels_ = 0;  // of the pins
    u32 id_ = 0, select_ = 0;
};

}  // namespace silicon::apic
