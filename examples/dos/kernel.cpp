#include "kernel.h"

#include <mach/mach_time.h>

#include <cstdio>
#include <cstring>

namespace dos {
namespace {

constexpr uint64_t tick_ns = 54925494;  // 65536 / 1193182 Hz
constexpr uint16_t tick_count = 0x6c;   // in the BIOS data
constexpr uint8_t dos_call = 0x21, timer = 0x08, user_timer = 0x1c, single_step = 1;

// Intel SDM vol. 3, "Exit Qualification for I/O Instructions".
constexpr uint64_t io_size = 7, io_in = 1 << 3, io_string = 1 << 4;

uint64_t ticks_from_now(uint64_t ns) {
    mach_timebase_info_data_t base;
    mach_timebase_info(&base);
    return mach_absolute_time() + ns * base.denom / base.numer;
}

bool is_valid(uint64_t information) { return information & IRQ_INFO_VALID; }
bool has_type(uint64_t information, uint64_t type) {
    return is_valid(information) && (information & IRQ_INFO_TYPE_MASK) == type;
}

}  // namespace

Kernel::Kernel(Console& the_console, Drive& the_drive) : console(the_console), drive(the_drive) {
    std::memset(machine.at(stub_segment, 0), 0xf4, 256);
    for (unsigned number = 0; number < 256; ++number)
        set_vector(static_cast<uint8_t>(number), {stub_segment, static_cast<uint16_t>(number)});
    machine.set_word(bios_data, 0x13, memory_end / 64);  // KiB
    machine.set_byte(bios_data, 0x49, 3);                // video mode: 80 x 25 text
    machine.set_word(bios_data, 0x4a, 80);
    machine.set_byte(bios_data, 0x84, 24);
    machine.set_dword(bios_data, tick_count, ticks_of_day());
}

FarPointer Kernel::vector(uint8_t number) {
    const auto entry = static_cast<uint16_t>(4 * number);
    return {machine.word(0, static_cast<uint16_t>(entry + 2)), machine.word(0, entry)};
}

void Kernel::set_vector(uint8_t number, FarPointer handler) {
    const auto entry = static_cast<uint16_t>(4 * number);
    machine.set_word(0, entry, handler.offset);
    machine.set_word(0, static_cast<uint16_t>(entry + 2), handler.segment);
}

bool Kernel::hooked(uint8_t number) {
    const FarPointer handler = vector(number);
    return handler.segment != stub_segment || handler.offset != number;
}

uint8_t Kernel::run() {
    uint64_t next_tick = ticks_from_now(tick_ns);
    try {
        for (;;) {
            const Exit exit = machine.run(next_tick);
            switch (exit.reason) {
                case VMX_REASON_IRQ: break;  // the host was interrupted
                case VMX_REASON_EXC_NMI: exception(exit); break;
                case VMX_REASON_HLT: halted(exit); break;
                case VMX_REASON_IO: port(exit); break;
                case VMX_REASON_CPUID: cpuid(exit); break;
                case VMX_REASON_EPT_VIOLATION:  // memory that is touched for the first time, where the host tells us
                    if (exit.address < Machine::memory_bytes) break;
                    throw GuestFault("an access to memory that is not there, " + place());
                case VMX_REASON_VMX_TIMER_EXPIRED:
                    next_tick = ticks_from_now(tick_ns);
                    tick();
                    break;
                default:
                    throw GuestFault("VM exit " + std::to_string(exit.reason) + ", which this DOS does not answer, " +
                                     place());
            }
        }
    } catch (const ProgramEnded& ended) {
        console.flush();
        return ended.code;
    }
}

void Kernel::exception(const Exit& exit) {
    if (has_type(exit.vectoring, IRQ_INFO_SOFT_IRQ)) {
        software_interrupt(static_cast<uint8_t>(exit.vectoring), 2);
    } else if (has_type(exit.interruption, IRQ_INFO_SOFT_EXC) || has_type(exit.interruption, IRQ_INFO_PRIV_SOFT_EXC)) {
        software_interrupt(static_cast<uint8_t>(exit.interruption), 1);  // INT3, INTO, INT1
    } else {
        fault(static_cast<uint8_t>(exit.interruption));
    }
}

// RIP is on the INT; it goes behind, and then either the program's own handler runs, or we do.
void Kernel::software_interrupt(uint8_t number, uint16_t length) {
    Registers registers = machine.registers();
    registers.ip = static_cast<uint16_t>(registers.ip + length);
    if (hooked(number))
        enter(number, registers);
    else
        serve(number, registers);
    machine.set_registers(registers);
}

// The program's handler for it, if it has one. A fault returns to the instruction.
void Kernel::fault(uint8_t number) {
    if (!hooked(number)) {
        if (number == single_step) return;
        const std::string what = number == 0 ? "a division overflow" : "exception " + std::to_string(number);
        throw GuestFault(what + ", for which the program has no handler, " + place());
    }
    Registers registers = machine.registers();
    enter(number, registers);
    machine.set_registers(registers);
}

// What the processor does for an interrupt in real mode.
void Kernel::enter(uint8_t number, Registers& registers) {
    for (const uint16_t pushed : {registers.flags, registers.cs, registers.ip}) {
        registers.sp = static_cast<uint16_t>(registers.sp - 2);
        machine.set_word(registers.ss, registers.sp, pushed);
    }
    const FarPointer handler = vector(number);
    registers.flags = static_cast<uint16_t>(registers.flags & ~(interrupt_flag | trap_flag));
    registers.cs = handler.segment;
    registers.ip = handler.offset;
}

// On a stub somebody has called or jumped to the handler that was there before his own: serve, and return as IRET does.
void Kernel::halted(const Exit& exit) {
    Registers registers = machine.registers();
    if (registers.cs != stub_segment || registers.ip > 0xff)
        return skip(exit);  // waits for the next interrupt, which is always near
    const auto number = static_cast<uint8_t>(registers.ip);
    for (uint16_t Registers::* popped : {&Registers::ip, &Registers::cs, &Registers::flags}) {
        registers.*popped = machine.word(registers.ss, registers.sp);
        registers.sp = static_cast<uint16_t>(registers.sp + 2);
    }
    serve(number, registers);
    machine.set_registers(registers);
}

void Kernel::serve(uint8_t number, Registers& registers) {
    if (number == dos_call ? serve_dos(*this, registers) : serve_bios(*this, number, registers)) return;
    char call[40];
    std::snprintf(call, sizeof call, number == dos_call ? "INT %02Xh function %02Xh" : "INT %02Xh (AH=%02Xh)", number,
                  registers.ah());
    unanswered(call);
    registers.ax = static_cast<uint16_t>(DosError::invalid_function);
    registers.carry(true);
}

// No device is behind a port: reads are all ones, writes are lost.
void Kernel::port(const Exit& exit) {
    if (exit.qualification & io_string)
        throw GuestFault("a string of port accesses, which this DOS does not answer, " + place());
    if (exit.qualification & io_in) {
        const uint64_t bits = 8 * ((exit.qualification & io_size) + 1);
        machine.set32(HV_X86_RAX, machine.get32(HV_X86_RAX) | static_cast<uint32_t>((1ULL << bits) - 1));
    }
    skip(exit);
}

// A processor of no make, with nothing beyond the 80486.
void Kernel::cpuid(const Exit& exit) {
    const bool signature = machine.get32(HV_X86_RAX) == 1, name = machine.get32(HV_X86_RAX) == 0;
    machine.set32(HV_X86_RAX, signature ? 0x400 : name ? 1 : 0);
    machine.set32(HV_X86_RBX, name ? 0x50534f44 : 0);  // "DOSProgramVM"
    machine.set32(HV_X86_RDX, name ? 0x72676f72 : 0);
    machine.set32(HV_X86_RCX, name ? 0x4d566d61 : 0);
    skip(exit);
}

// The clock of the BIOS; and the program's handler, if it wants to know.
void Kernel::tick() {
    machine.set_dword(bios_data, tick_count, ticks_of_day());
    Registers registers = machine.registers();
    if (!(registers.flags & interrupt_flag)) return;
    const uint8_t number = hooked(timer) ? timer : user_timer;
    if (!hooked(number)) return;
    enter(number, registers);
    machine.set_registers(registers);
}

void Kernel::skip(const Exit& exit) {
    Registers registers = machine.registers();
    registers.ip = static_cast<uint16_t>(registers.ip + exit.length);
    machine.set_registers(registers);
}

void Kernel::put(const std::string& text) {
    constexpr uint16_t standard_output = 1;
    switch (handles.kind(standard_output)) {
        case Handles::Kind::console: console.put(text); break;
        case Handles::Kind::file: handles.write(standard_output, text); break;
        default: break;
    }
}

void Kernel::unanswered(const std::string& call) {
    if (!told_.insert(call).second) return;
    console.flush();
    std::fprintf(stderr, "dos: %s is not answered, %s\n", call.c_str(), place().c_str());
}

std::string Kernel::place() const {
    const Registers registers = machine.registers();
    char text[40];
    std::snprintf(text, sizeof text, "at %04X:%04X", registers.cs, registers.ip);
    return text;
}

}  // namespace dos
