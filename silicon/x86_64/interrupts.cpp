// Delivering exceptions and interrupts through the IVT or IDT. Intel SDM vol. 3, "Interrupt and Exception Handling".
#include <utility>

#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/descriptors.h"

namespace silicon::x86 {
namespace {

bool has_error_code(u8 vector) {
    return vector == vector_df || (vector >= vector_ts && vector <= vector_pf) || vector == vector_ac || vector == 21;
}

constexpr u32 error_code_valid = 1 << 11;
constexpr u32 nmi_unblocked = 1 << 12;  // of the interruption information: by the IRET that faulted

// Intel SDM vol. 3, "Double Fault Exception (#DF)", the classes of exceptions.
bool is_contributory(u8 vector) { return vector == vector_de || (vector >= vector_ts && vector <= vector_gp); }

}  // namespace

Outcome Cpu::raise(Vector vector) {
    fault_ = Event{};
    fault_.pending = true;
    fault_.vector = vector;
    return Outcome::Stop;
}

Outcome Cpu::raise(Vector vector, u32 error) {
    raise(vector);
    fault_.has_error = true;
    fault_.error = error;
    return Outcome::Stop;
}

Outcome Cpu::raise_page_fault(u64 linear, u32 error) {
    raise(vector_pf, error);
    fault_.address = linear;
    return Outcome::Stop;
}

Outcome Cpu::software_event(u8 vector, EventType type, const Insn& in) {
    fault_ = Event{};
    fault_.pending = true;
    fault_.vector = vector;
    fault_.type = type;
    fault_.length = in.length;
    return Outcome::Stop;
}

// An exception that the bitmap takes. Intel SDM vol. 3, "Other Causes of VM Exits".
bool Cpu::intercepted(const Event& event) {
    if (event.type == EventType::External || event.type == EventType::Software) return false;
    if (event.vector == vector_nmi) return vmcs.pin & pin::nmi;
    bool wanted = vmcs.exception_bitmap >> (event.vector & 31) & 1;
    if (event.vector == vector_pf && (event.error & vmcs.page_fault_mask) != vmcs.page_fault_match) wanted = !wanted;
    return wanted;
}

// What two events in a row make. False: a triple fault.
static bool combine(const Event& first, Event& second) {
    if (first.vector == vector_df && first.type == EventType::Hardware) return false;
    if (first.type != EventType::Hardware) return true;  // an interrupt's delivery faulted: the fault alone
    const bool after_fault = is_contributory(first.vector) || first.vector == vector_pf;
    const bool doubles = is_contributory(first.vector) ? is_contributory(second.vector)
                         : first.vector == vector_pf   ? is_contributory(second.vector) || second.vector == vector_pf
                                                       : false;
    if (!after_fault || !doubles) return true;
    const u8 length = second.length;
    second = Event{};
    second.pending = true;
    second.vector = vector_df;
    second.has_error = true;
    second.length = length;
    return true;
}

// As an exit gives it: in real mode exceptions have no error codes.
u32 Cpu::info_told(const Event& event) const { return in_protected() ? event.info() : event.info() & ~error_code_valid; }

// False: leave, `exit` says why.
bool Cpu::deliver(Event event, bool injected) {
    Event before;  // what was being delivered when `event` came up
    for (;;) {
        event.pending = true;
        const bool by_entry = std::exchange(injected, false);  // not intercepted, and CR2 is the client's
        if (!by_entry && intercepted(event)) {
            set_exit(ExitKind::Exception, Reason::ExceptionOrNmi);
            exit.interruption_info = info_told(event);
            exit.interruption_error = event.error;
            exit.qualification = event.vector == vector_pf ? event.address : event.vector == vector_db ? event.debug : 0;
            exit.gva = event.address;
            exit.length_bytes = event.length;
            // A double fault has no event before it. Intel SDM vol. 3, "Information for VM Exits During Event Delivery".
            if (before.pending && event.vector != vector_df) exit.vectoring_info = info_told(before), exit.vectoring_error = before.error;
            if (unblocked_nmi_ && !before.pending && event.vector != vector_df) exit.interruption_info |= nmi_unblocked;
            return false;
        }
        fault_.pending = false;
        if (!by_entry && event.vector == vector_pf && event.type == EventType::Hardware) cr2 = event.address;
        delivering_ = true;
        const bool delivered = deliver_once(event);
        delivering_ = false;
        if (delivered) {
            if (!late_.pending) return true;
            event = late_;  // the trap of the task that was switched to
            late_.pending = before.pending = false;
            continue;
        }
        if (!fault_.pending) {  // the IDT, the stack or a page table lies where a device is
            exit.vectoring_info = info_told(event);
            exit.vectoring_error = event.error;
            exit.length_bytes = event.length;
            return false;
        }
        Event next = fault_;
        next.length = event.length;
        fault_.pending = false;
        if (!combine(event, next)) {
            set_exit(ExitKind::Shutdown, Reason::TripleFault);
            return false;
        }
        // A fault in delivering what the program has not asked for says so in its error code.
        const bool asked_for = event.type == EventType::Software || event.type == EventType::SoftwareException;
        if (!asked_for && next.has_error && next.vector != vector_pf && next.vector != vector_df) next.error |= 1;
        before = event;
        event = next;
    }
}

bool Cpu::deliver_once(const Event& event) {
    note_debug(event);
    const bool done = efer & efer::lma ? deliver_long(event) : in_protected() ? deliver_protected(event) : deliver_real(event);
    if (!done) return false;
    interruptibility &= u8(~3u);
    if (event.type == EventType::Nmi) interruptibility |= 8;
    request_event();
    return true;
}

// Where the handler returns to: behind INT n and its kind, else the instruction itself.
u64 Cpu::return_rip(const Event& event) const {
    const bool behind = event.type == EventType::Software || event.type == EventType::SoftwareException ||
                        event.type == EventType::PrivilegedSoftware;
    return (rip + (behind ? event.length : 0)) & code_mask();
}

// The flags as pushed: a fault comes back with RF, so that an instruction breakpoint does not trap again.
u64 Cpu::pushed_flags(const Event& event) const {
    const bool fault = event.type == EventType::Hardware ? event.vector != vector_db || event.sets_rf : repeating_;
    return all_rflags() | (fault ? flag::rf : 0);
}

bool Cpu::pushes_error(const Event& event) { return event.has_error && has_error_code(event.vector); }

bool Cpu::deliver_real(const Event& event) {
    const u32 offset = event.vector * 4u;
    if (offset + 3 > idtr.limit) {
        raise(vector_gp, offset + 2);
        return false;
    }
    const auto entry = system_load<u32>(idtr.base + offset);
    if (!entry.ok) return false;
    const u64 pushed[] = {all_rflags(), at(Seg::Cs).selector, return_rip(event)};
    FrameStack stack{at(Seg::Ss), gpr[rsp], cpl};
    if (!room_on(stack, 3, 2)) return false;
    for (const u64 value : pushed)
        if (!push_on(stack, value, 2)) return false;
    set_sp(stack.sp);
    load_segment(Seg::Cs, u16(entry.value >> 16));
    update_mode_if_needed();
    rip = entry.value & 0xffff;
    set_rflags(0, flag::intf | flag::tf | flag::ac | flag::rf);
    return true;
}

// The gate of an event, checked. Intel SDM vol. 2, "INT n/INTO/INT3/INT1", "Operation".
bool Cpu::read_gate(const Event& event, unsigned gate_bytes, Gate& gate) {
    const u32 offset = event.vector * gate_bytes, error = event.vector * 8u + 2;
    if (offset + gate_bytes - 1 > idtr.limit) {
        raise(vector_gp, error);
        return false;
    }
    const auto low = system_load<u64>(idtr.base + offset);
    if (!low.ok) return false;
    gate.low = low.value;
    if (gate_bytes == 16) {
        const auto high = system_load<u64>(idtr.base + offset + 8);
        if (!high.ok) return false;
        gate.high = high.value & 0xffffffff;
    }
    const unsigned type = gate.type();
    const bool legacy = type == sys::task_gate || type == sys::interrupt16 || type == sys::trap16;
    const bool known = gate.is_system() && (type == sys::interrupt32 || type == sys::trap32 || (gate_bytes == 8 && legacy));
    const bool by_software = event.type == EventType::Software || event.type == EventType::SoftwareException;
    if (!known || (by_software && gate.dpl() < cpl)) {
        raise(vector_gp, error);
        return false;
    }
    if (!gate.present()) {
        raise(vector_np, error);
        return false;
    }
    return true;
}

// The handler's code segment; `new_cpl` is the level it runs at.
bool Cpu::handler_segment(u16 selector, bool long_mode, Segment& cs, unsigned& new_cpl) {
    if (!(selector & 0xfffc)) {
        raise(vector_gp, 0);
        return false;
    }
    Descriptor d;
    u64 place = 0;
    if (!read_descriptor(selector, vector_gp, d, place)) return false;
    const bool sized = !long_mode || (d.rights() & (ar::l | ar::db)) == ar::l;
    if (!d.is_code() || d.dpl() > cpl || !sized) {
        raise(vector_gp, selector & 0xfffc);
        return false;
    }
    if (!d.present()) {
        raise(vector_np, selector & 0xfffc);
        return false;
    }
    if (!mark_accessed(d, place)) return false;
    new_cpl = d.is_conforming() ? cpl : d.dpl();
    cs = d.segment(selector);
    return true;
}

void Cpu::enter_handler(const Segment& cs, unsigned new_cpl, u64 target, bool trap_gate) {
    set_code_segment(cs, new_cpl);
    rip = target;
    set_rflags(0, flag::tf | flag::nt | flag::rf | flag::vm | (trap_gate ? 0 : flag::intf));
}

// The frame of a 16- or 32-bit handler: out of virtual-8086 mode with all segment registers, to an inner level with the old
// stack, else flags, CS, the return address and an error code.
bool Cpu::push_frame(const Event& event, FrameStack& stack, unsigned size_bytes, const Segment& cs, u64 target) {
    u64 frame[10];
    unsigned count = 0;
    if (mode & mode::virtual8086)
        for (const Seg which : {Seg::Gs, Seg::Fs, Seg::Ds, Seg::Es}) frame[count++] = at(which).selector;
    if (stack.is_new) {
        frame[count++] = at(Seg::Ss).selector;
        frame[count++] = gpr[rsp];
    }
    frame[count++] = pushed_flags(event);
    frame[count++] = at(Seg::Cs).selector;
    frame[count++] = return_rip(event);
    if (pushes_error(event)) frame[count++] = event.error;
    if (!room_on(stack, count, size_bytes) || !fits_code(target, cs)) return false;
    for (unsigned n = 0; n < count; ++n)
        if (!push_on(stack, frame[n], size_bytes)) return false;
    return true;
}

bool Cpu::deliver_protected(const Event& event) {
    Gate gate;
    if (!read_gate(event, 8, gate)) return false;
    if (gate.type() == sys::task_gate) return deliver_task(event, gate);
    Segment cs;
    unsigned new_cpl = 0;
    if (!handler_segment(gate.selector(), false, cs, new_cpl)) return false;
    const bool virtual8086 = mode & mode::virtual8086;
    if (virtual8086 && new_cpl != 0) {
        raise(vector_gp, gate.selector() & 0xfffcu);
        return false;
    }
    FrameStack stack{at(Seg::Ss), gpr[rsp], cpl};
    if (new_cpl != cpl && !inner_stack(new_cpl, stack)) return false;
    const u64 target = gate.offset(false) & (gate.is_wide() ? 0xffffffff : 0xffff);
    if (!push_frame(event, stack, gate.is_wide() ? 4 : 2, cs, target)) return false;
    at(Seg::Ss) = stack.ss;
    if (virtual8086)
        for (const Seg which : {Seg::Gs, Seg::Fs, Seg::Ds, Seg::Es}) at(which) = Segment{0, 0, ar::unusable, 0};
    enter_handler(cs, new_cpl, target, gate.is_trap());
    set_sp(stack.sp);
    return true;
}

// The stack a 64-bit handler starts on. Intel SDM vol. 3, "Stack Switching in IA-32e Mode", "Interrupt Stack Table".
bool Cpu::handler_stack(const Gate& gate, unsigned new_cpl, u64& sp) {
    sp = gpr[rsp];
    if (gate.ist() || new_cpl < cpl) {
        if (!inner_stack_long(gate.ist() ? 0x24 + (gate.ist() - 1) * 8 : 4 + new_cpl * 8, sp)) return false;
    }
    sp &= ~u64{15};
    if (canonical(sp)) return true;
    raise(vector_ss, 0);
    return false;
}

bool Cpu::deliver_long(const Event& event) {
    Gate gate;
    Segment cs;
    unsigned new_cpl = 0;
    if (!read_gate(event, 16, gate) || !handler_segment(gate.selector(), true, cs, new_cpl)) return false;
    const u64 target = gate.offset(true);
    if (!fits_code(target, cs)) return false;
    u64 sp = 0;
    if (!handler_stack(gate, new_cpl, sp)) return false;
    const u64 pushed[] = {at(Seg::Ss).selector, gpr[rsp],       pushed_flags(event), at(Seg::Cs).selector,
                          return_rip(event), event.error};
    const unsigned count = pushes_error(event) ? 6 : 5;
    for (unsigned n = 0; n < count; ++n)
        if (!push_at(sp - 8 * (n + 1), pushed[n], 8, new_cpl)) return false;
    if (new_cpl != cpl) at(Seg::Ss) = Segment{0, 0, ar::unusable | new_cpl << ar::dpl_shift, u16(new_cpl)};
    enter_handler(cs, new_cpl, target, gate.is_trap());
    gpr[rsp] = sp - 8 * count;
    return true;
}

}  // namespace silicon::x86
