#include "loader.h"

#include <cstring>

#include "names.h"

namespace dos {
namespace {

constexpr uint16_t prefix_paragraphs = 0x10;
constexpr size_t longest_tail = 126, largest_com = 0x10000 - 0x100 - 2;

// The head of an .EXE.
struct ExeHeader {
    char magic[2];
    uint16_t last_page_bytes, pages, relocations, header_paragraphs, least_extra, most_extra, ss, sp, checksum, ip, cs,
        relocation_table;
};
static_assert(sizeof(ExeHeader) == 26);
constexpr size_t page_bytes = 512;

// Variables, an empty one, how many strings follow, and the program's name.
uint16_t make_environment(Kernel& kernel, const std::string& name) {
    using namespace std::string_literals;
    const std::string text = "COMSPEC=C:\\COMMAND.COM\0PATH=C:\\\0\0\1\0C:\\"s + upper(name) + '\0';
    const uint16_t segment = kernel.memory.allocate(static_cast<uint16_t>((text.size() + 15) / 16));
    kernel.machine.write(segment, 0, text.data(), text.size());
    return segment;
}

// The program segment prefix.
void make_prefix(Kernel& kernel, uint16_t environment, const std::string& tail) {
    Machine& machine = kernel.machine;
    const uint16_t psp = kernel.program;
    static constexpr uint8_t exit_call[] = {0xcd, 0x20}, dos_call[] = {0xcd, 0x21, 0xcb};  // int 20h; int 21h, retf
    machine.write(psp, 0, exit_call, sizeof exit_call);
    machine.set_word(psp, 0x02, memory_end);
    for (uint8_t number : {0x22, 0x23, 0x24})
        machine.set_dword(psp, static_cast<uint16_t>(0x0a + 4 * (number - 0x22)),
                          static_cast<uint32_t>(stub_segment << 16 | number));
    machine.set_word(psp, 0x16, psp);  // it is its own parent
    for (uint16_t n = 0; n < 20; ++n)
        machine.set_byte(psp, static_cast<uint16_t>(0x18 + n), n < 5 ? static_cast<uint8_t>(n) : 0xff);
    machine.set_word(psp, 0x2c, environment);
    machine.set_word(psp, 0x32, 20);
    machine.set_dword(psp, 0x34, static_cast<uint32_t>(psp << 16 | 0x18));
    machine.write(psp, 0x50, dos_call, sizeof dos_call);
    for (const uint16_t block : {0x5c, 0x6c}) machine.write(psp, block, "\0           ", 12);  // no file names
    const std::string text = tail.substr(0, longest_tail);
    machine.set_byte(psp, 0x80, static_cast<uint8_t>(text.size()));
    machine.write(psp, 0x81, (text + '\r').data(), text.size() + 1);
}

// One segment for all, the stack at its end with a 0 on it: a plain RET comes to the INT 20h at the segment's start.
Registers load_com(Kernel& kernel, const std::string& image) {
    if (image.size() > largest_com)
        throw BadProgram("a .COM program has at most " + std::to_string(largest_com) + " bytes");
    const uint16_t psp = kernel.program;
    kernel.machine.write(psp, 0x100, image.data(), image.size());
    Registers start{};
    start.cs = start.ds = start.es = start.ss = psp;
    start.ip = 0x100;
    start.sp = 0xfffe;
    return start;
}

uint16_t word_at(const std::string& image, size_t at) {
    return static_cast<uint16_t>(static_cast<uint8_t>(image[at]) | static_cast<uint8_t>(image[at + 1]) << 8);
}

void relocate(Kernel& kernel, const std::string& image, const ExeHeader& header, uint16_t base, size_t module_bytes) {
    if (header.relocation_table + size_t{4} * header.relocations > image.size())
        throw BadProgram("its relocations are cut off");
    for (size_t n = 0; n < header.relocations; ++n) {
        const size_t entry = header.relocation_table + 4 * n;
        const uint16_t offset = word_at(image, entry), segment = word_at(image, entry + 2);
        if (segment * size_t{16} + offset + 2 > module_bytes) throw BadProgram("a relocation lies beyond the program");
        const auto place = static_cast<uint16_t>(base + segment);
        kernel.machine.set_word(place, offset, static_cast<uint16_t>(kernel.machine.word(place, offset) + base));
    }
}

Registers load_exe(Kernel& kernel, const std::string& image) {
    ExeHeader header;
    if (image.size() < sizeof header) throw BadProgram("its header is cut off");
    std::memcpy(&header, image.data(), sizeof header);
    const size_t unused = header.last_page_bytes ? page_bytes - header.last_page_bytes % page_bytes : 0;
    const size_t file_bytes = header.pages * page_bytes - (unused == page_bytes ? 0 : unused),
                 head_bytes = header.header_paragraphs * size_t{16};
    if (head_bytes > file_bytes || file_bytes > image.size()) throw BadProgram("its header says more than there is");
    const std::string module = image.substr(head_bytes, file_bytes - head_bytes);
    const auto base = static_cast<uint16_t>(kernel.program + prefix_paragraphs);
    const size_t needed = (module.size() + 15) / 16 + header.least_extra + base;
    if (needed > memory_end) throw BadProgram("it needs more memory than there is");
    for (size_t n = 0; n < module.size(); n += 16)  // by paragraphs: it may be longer than a segment
        kernel.machine.write(static_cast<uint16_t>(base + n / 16), 0, module.data() + n,
                             std::min<size_t>(16, module.size() - n));
    relocate(kernel, image, header, base, module.size());
    Registers start{};
    start.ds = start.es = kernel.program;
    start.cs = static_cast<uint16_t>(base + header.cs);
    start.ss = static_cast<uint16_t>(base + header.ss);
    start.ip = header.ip;
    start.sp = header.sp;
    return start;
}

bool is_exe(const std::string& image) { return image.compare(0, 2, "MZ") == 0 || image.compare(0, 2, "ZM") == 0; }

}  // namespace

void load(Kernel& kernel, const std::string& image, const std::string& name, const std::string& tail) {
    const uint16_t environment = make_environment(kernel, name);
    kernel.program = kernel.memory.allocate(kernel.memory.largest());  // all that is left
    kernel.transfer.segment = kernel.program;
    make_prefix(kernel, environment, tail);
    Registers start = is_exe(image) ? load_exe(kernel, image) : load_com(kernel, image);
    start.flags = interrupt_flag | 2;
    kernel.machine.set_registers(start);
}

}  // namespace dos
