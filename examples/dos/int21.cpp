// INT 21h: the table of functions, and those that are about neither files nor the console.
#include <ctime>
#include <map>

#include "services.h"

namespace dos {
namespace {

constexpr uint8_t major = 5, minor = 0;

void end_program(Kernel&, Registers& r) { throw ProgramEnded{r.ah() == 0x4c || r.ah() == 0x31 ? r.al() : uint8_t{0}}; }

void accepted(Kernel&, Registers&) {}  // without an effect here

void select_drive(Kernel&, Registers& r) { r.al(3); }  // there are three; C: stays the current one
void current_drive(Kernel&, Registers& r) { r.al(2); }

void set_vector(Kernel& dos, Registers& r) { dos.set_vector(r.al(), {r.ds, r.dx}); }

void get_vector(Kernel& dos, Registers& r) {
    const FarPointer handler = dos.vector(r.al());
    r.es = handler.segment;
    r.bx = handler.offset;
}

void get_date(Kernel&, Registers& r) {
    const time_t now = std::time(nullptr);
    tm parts{};
    localtime_r(&now, &parts);
    r.cx = static_cast<uint16_t>(parts.tm_year + 1900);
    r.dx = static_cast<uint16_t>((parts.tm_mon + 1) << 8 | parts.tm_mday);
    r.al(static_cast<uint8_t>(parts.tm_wday));
}

void get_time(Kernel&, Registers& r) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    tm parts{};
    localtime_r(&now.tv_sec, &parts);
    r.cx = static_cast<uint16_t>(parts.tm_hour << 8 | parts.tm_min);
    r.dx = static_cast<uint16_t>(parts.tm_sec << 8 | now.tv_nsec / 10000000);
}

void version(Kernel&, Registers& r) {
    r.ax = minor << 8 | major;
    r.bx = 0xff00;
    r.cx = 0;
}

void break_check(Kernel&, Registers& r) {
    if (r.al() == 0) r.dx &= 0xff00;                                     // off
    if (r.al() == 5) r.dx = static_cast<uint16_t>((r.dx & 0xff00) | 3);  // started from C:
    if (r.al() == 6) r.bx = minor << 8 | major, r.dx = 0;
}

void current_program(Kernel& dos, Registers& r) { r.bx = dos.program; }

void allocate(Kernel& dos, Registers& r) {
    try {
        r.ax = dos.memory.allocate(r.bx);
    } catch (const Failure&) {
        r.bx = dos.memory.largest();
        throw;
    }
}

void release(Kernel& dos, Registers& r) { dos.memory.release(r.es); }

void resize(Kernel& dos, Registers& r) {
    const uint16_t room = dos.memory.room_for(r.es);
    try {
        dos.memory.resize(r.es, r.bx);
    } catch (const Failure&) {
        r.bx = room;
        throw;
    }
}

using Service = void (*)(Kernel&, Registers&);
const std::map<uint8_t, Service> functions = {
    {0x00, end_program},    {0x01, read_with_echo},   {0x02, put_character},     {0x06, direct_console},
    {0x07, read_silently},  {0x08, read_silently},    {0x09, put_string},        {0x0a, read_line},
    {0x0b, input_status},   {0x0c, flush_and_read},   {0x0d, accepted},          {0x0e, select_drive},
    {0x19, current_drive},  {0x1a, set_transfer},     {0x25, set_vector},        {0x2a, get_date},
    {0x2c, get_time},       {0x2e, accepted},         {0x2f, get_transfer},      {0x30, version},
    {0x31, end_program},    {0x33, break_check},      {0x35, get_vector},        {0x36, free_space},
    {0x39, make_directory}, {0x3a, remove_directory}, {0x3b, change_directory},  {0x3c, create_file},
    {0x3d, open_file},      {0x3e, close_file},       {0x3f, read_file},         {0x40, write_file},
    {0x41, delete_file},    {0x42, seek_file},        {0x43, attributes},        {0x44, device_control},
    {0x45, duplicate},      {0x46, duplicate_to},     {0x47, current_directory}, {0x48, allocate},
    {0x49, release},        {0x4a, resize},           {0x4c, end_program},       {0x4e, find_first},
    {0x4f, find_next},      {0x50, accepted},         {0x51, current_program},   {0x54, accepted},
    {0x56, rename_file},    {0x57, file_time},        {0x5b, create_new_file},   {0x62, current_program},
};

constexpr uint8_t first_with_carry = 0x38;  // functions from here on tell by the carry flag how they went

}  // namespace

bool serve_dos(Kernel& kernel, Registers& registers) {
    const auto found = functions.find(registers.ah());
    if (found == functions.end()) return false;
    const bool tells = registers.ah() >= first_with_carry;
    try {
        found->second(kernel, registers);
        if (tells) registers.carry(false);
    } catch (const Failure& failure) {
        registers.ax = static_cast<uint16_t>(failure.code);
        registers.carry(true);
    }
    return true;
}

}  // namespace dos
