// The interrupts beside INT 21h: screen, keyboard, clock, and what ends a program.
#include <algorithm>
#include <ctime>
#include <iterator>

#include "kernel.h"

namespace dos {
namespace {

constexpr uint16_t text_equipment = 0x21;  // a disk drive, a colour text screen
constexpr uint8_t columns = 80, text_mode = 3;

void put(Kernel& dos, uint8_t character, unsigned count = 1) {
    dos.console.put(std::string(count, static_cast<char>(character)));
}

// INT 10h. What only concerns a screen with a cursor has no effect.
void screen(Kernel& dos, Registers& r) {
    switch (r.ah()) {
        case 0x03:  // the cursor's shape and place
            r.cx = 0x0607;
            r.dx = 0;
            break;
        case 0x08: r.ax = 0x0720; break;  // a space
        case 0x09:
        case 0x0a: put(dos, r.al(), r.cx); break;
        case 0x0e: put(dos, r.al()); break;
        case 0x0f:
            r.ax = columns << 8 | text_mode;
            r.bx = r.bl();
            break;
        case 0x13: dos.console.put(dos.machine.read(r.es, r.bp, r.cx)); break;
        default: break;
    }
}

// The scan code of a key in AH, where a program looks for it.
uint16_t with_scan_code(uint8_t key) {
    switch (key) {
        case '\r': return 0x1c00 | key;
        case '\b': return 0x0e00 | key;
        case '\t': return 0x0f00 | key;
        case 0x1b: return 0x0100 | key;
        case ' ': return 0x3900 | key;
        default: return key;
    }
}

// INT 16h: wait for a key, look for one, and which shift keys are down.
bool keyboard(Kernel& dos, Registers& r) {
    switch (r.ah() & ~0x10) {
        case 0x00: r.ax = with_scan_code(dos.console.key()); return true;
        case 0x01: {
            const auto key = dos.console.peek();
            r.zero(!key);
            if (key) r.ax = with_scan_code(*key);
            return true;
        }
        case 0x02: r.al(0); return true;
        default: return false;
    }
}

bool clock(Registers& r) {
    if (r.ah() != 0) return false;
    const uint32_t ticks = ticks_of_day();
    r.cx = static_cast<uint16_t>(ticks >> 16);
    r.dx = static_cast<uint16_t>(ticks);
    r.al(0);
    return true;
}

}  // namespace

uint32_t ticks_of_day() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    tm parts{};
    localtime_r(&now.tv_sec, &parts);
    const auto seconds = static_cast<uint64_t>((parts.tm_hour * 60 + parts.tm_min) * 60 + parts.tm_sec);
    const uint64_t ms = seconds * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
    return static_cast<uint32_t>(ms * 1193182 / 65536 / 1000);
}

bool serve_bios(Kernel& kernel, uint8_t number, Registers& registers) {
    constexpr uint8_t without_effect[] = {
        0x03, 0x04,              // INT3 and INTO
        0x08, 0x09, 0x1b, 0x1c,  // timer and keyboard, passed on by a handler of the program's
        0x23, 0x24, 0x28, 0x2a,  // break, errors, idle, network
        0x2f,                    // multiplex: nobody is installed, which registers that stay say
    };
    if (std::count(std::begin(without_effect), std::end(without_effect), number)) return true;
    switch (number) {
        case 0x10: screen(kernel, registers); return true;
        case 0x11: registers.ax = text_equipment; return true;
        case 0x12: registers.ax = memory_end / 64; return true;
        case 0x16: return keyboard(kernel, registers);
        case 0x1a: return clock(registers);
        case 0x20:
        case 0x27: throw ProgramEnded{0};
        case 0x29: put(kernel, registers.al()); return true;
        case 0x33: registers.ax = 0; return true;  // no mouse
        default: return false;
    }
}

}  // namespace dos
