// DOS behind one program: its exits become calls of DOS and BIOS, one after the other.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "console.h"
#include "drive.h"
#include "errors.h"
#include "handles.h"
#include "machine.h"
#include "memory_blocks.h"

namespace dos {

// Where things are. Below: the interrupt table (0) and the data of the BIOS (40h).
constexpr uint16_t bios_data = 0x40, first_free = 0x60, memory_end = 0xa000;
// Every vector begins on a HLT of its own here, so a program that goes on to the old handler comes back to us.
constexpr uint16_t stub_segment = 0xf000;

struct FarPointer {
    uint16_t segment, offset;
};

class Kernel {
   public:
    Kernel(Console& console, Drive& drive);
    // Until the program ends; its exit code. Raises GuestFault.
    uint8_t run();

    // To standard output, wherever that goes now.
    void put(const std::string& text);
    // The pointer in the interrupt table.
    FarPointer vector(uint8_t number);
    void set_vector(uint8_t number, FarPointer handler);
    // Says on standard error, once for each, that nobody answers a call.
    void unanswered(const std::string& call);

    Machine machine;
    Console& console;
    Drive& drive;
    Handles handles;
    MemoryBlocks memory{first_free, memory_end};
    uint16_t program = 0;          // segment of its prefix
    FarPointer transfer{0, 0x80};  // disk transfer area
    std::vector<std::vector<Entry>> searches;

   private:
    void exception(const Exit& exit);
    void software_interrupt(uint8_t number, uint16_t length);
    void fault(uint8_t number);
    void halted(const Exit& exit);
    void port(const Exit& exit);
    void cpuid(const Exit& exit);
    void tick();
    void serve(uint8_t number, Registers& registers);
    void enter(uint8_t number, Registers& registers);
    bool hooked(uint8_t number);
    void skip(const Exit& exit);
    std::string place() const;

    std::set<std::string> told_;
};

// INT 21h, by AH. False: this DOS has no such function.
bool serve_dos(Kernel& kernel, Registers& registers);
// The other interrupts. False: nobody answers it.
bool serve_bios(Kernel& kernel, uint8_t number, Registers& registers);
// Timer ticks since midnight, 18.2 a second.
uint32_t ticks_of_day();

}  // namespace dos
