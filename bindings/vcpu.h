// A Cpu as Python holds it: one thread uses it at a time.
#pragma once

#include <atomic>
#include <string>

#include "bindings/common.h"
#include "bindings/thread_signal.h"
#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/interrupt_unit.h"

namespace binding {

struct VcpuObject {
    VcpuObject(silicon::GuestMemory& memory, silicon::Clock& clock, unsigned index, bool raw, silicon::apic::Interrupts* interrupts)
        : home(memory), cpu(memory, clock, index, raw) {
        if (interrupts) cpu.attach(*interrupts);
    }
    silicon::GuestMemory& home;  // the address space that it begins in
    nb::object space;            // keeps the one that it was moved to; `cpu` points into it, so it goes first
    ThreadSignal outside;
    silicon::x86::Cpu cpu;
    std::atomic<bool> running{false};
    std::atomic<bool> closed{false};
    std::string why_closed;  // written before `closed`
};

void require_open(const VcpuObject& vcpu);
silicon::x86::Cpu& idle(VcpuObject& vcpu);  // for what does not run the guest

void bind_vcpu_apic(nb::class_<VcpuObject>& cls);
void bind_vcpu_outside(nb::class_<VcpuObject>& cls);
void bind_vcpu_vmx(nb::class_<VcpuObject>& cls);

}  // namespace binding
