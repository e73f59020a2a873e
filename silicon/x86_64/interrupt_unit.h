// A processor's part in the interrupt controllers: its local APIC, the pages, ports and MSRs of all of them, and the way back to
// the processor.
#pragma once

#include "silicon/apic/interrupts.h"
#include "silicon/apic/local_apic.h"
#include "silicon/x86_64/event.h"

namespace silicon::x86 {

class Cpu;
struct CpuidLeaf;
enum class Reason : u32;

class InterruptUnit final : public apic::Processor {
  public:
    InterruptUnit(Cpu& cpu, apic::Interrupts& hub, Clock& clock);
    ~InterruptUnit();
    InterruptUnit(const InterruptUnit&) = delete;
    InterruptUnit& operator=(const InterruptUnit&) = delete;

    void look() override;
    void receive_init() override;
    void receive_start_up(u8 vector) override;

    void power_up();
    bool on_page(u64 gpa) const;
    Slow load(u64 gpa, unsigned size_bytes);
    Outcome store(u64 gpa, u64 value, unsigned size_bytes);
    bool owns_port(u16 port) const;
    u64 in(u16 port, unsigned size_bytes);
    Outcome out(u16 port, unsigned size_bytes, u32 value);
    bool owns_msr(u32 number) const;
    bool read_msr(u32 number, u64& value);
    bool write_msr(u32 number, u64 value, bool by_guest);
    Slow rdmsr(u32 number);
    Outcome wrmsr(u32 number, u64 value);
    void identify(CpuidLeaf& found) const;
    bool load_local(const apic::LocalState& saved);  // false: it is none of this processor's local APIC
    void follow_task_priority();                     // CR8 and the local APIC's register are one
    bool take_interrupts();
    Outcome halt();

    Cpu& cpu;
    apic::Interrupts& hub;
    apic::LocalApic local;

  private:
    Outcome after_write(u32 offset);
    Outcome refuse_msr(Reason reason);
};

}  // namespace silicon::x86
