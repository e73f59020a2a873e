// INT 21h, functions 01h to 0Ch: keyboard and screen.
#include "services.h"

namespace dos {

void read_with_echo(Kernel& dos, Registers& r) {
    r.al(dos.console.key());
    dos.put(std::string(1, static_cast<char>(r.al())));
}

void read_silently(Kernel& dos, Registers& r) { r.al(dos.console.key()); }

void put_character(Kernel& dos, Registers& r) {
    dos.put(std::string(1, static_cast<char>(r.dl())));
    r.al(r.dl());
}

// DL = FFh asks for a key without waiting; anything else is a character to print.
void direct_console(Kernel& dos, Registers& r) {
    if (r.dl() != 0xff) return put_character(dos, r);
    const bool none = !dos.console.has_key();
    r.al(none ? 0 : dos.console.key());
    r.zero(none);
}

void put_string(Kernel& dos, Registers& r) {
    dos.put(dos.machine.read_until(r.ds, r.dx, '$'));
    r.al('$');
}

// DS:DX: room for how many characters, how many came, and those, with a CR behind.
void read_line(Kernel& dos, Registers& r) {
    const uint8_t room = dos.machine.byte(r.ds, r.dx);
    if (room == 0) return;
    const std::string line = dos.console.line(room - 1U);
    const std::string answer = static_cast<char>(line.size()) + line + '\r';
    dos.machine.write(r.ds, static_cast<uint16_t>(r.dx + 1), answer.data(), answer.size());
    dos.put("\r");
}

void input_status(Kernel& dos, Registers& r) { r.al(dos.console.has_key() ? 0xff : 0); }

// What was typed ahead is dropped on a terminal only: what comes from a pipe is meant.
void flush_and_read(Kernel& dos, Registers& r) {
    r.ah(r.al());
    if (r.al() == 0x01 || (r.al() >= 0x06 && r.al() <= 0x08) || r.al() == 0x0a) serve_dos(dos, r);
}

}  // namespace dos
