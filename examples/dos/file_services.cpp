// INT 21h, functions 3Ch to 46h and 57h: open files.
#include <fcntl.h>
#include <sys/stat.h>

#include "names.h"
#include "services.h"

namespace dos {
namespace {

constexpr size_t longest_name = 128;
constexpr uint8_t access_mask = 7;
constexpr uint16_t is_device = 0x80, is_console = 0x03, on_drive_c = 0x02, not_at_end = 0x40;

// Names of devices are no files, in any folder and with any extension.
Handles::Kind device(const std::string& path) {
    const std::string last = upper(path_parts(path).back());
    const std::string name = last.substr(0, last.find('.'));
    if (name == "CON") return Handles::Kind::console;
    return name == "NUL" || name == "PRN" || name == "AUX" ? Handles::Kind::nothing : Handles::Kind::closed;
}

void create(Kernel& dos, Registers& r, int flags) {
    const std::string name = name_at(dos, r.ds, r.dx);
    const Handles::Kind kind = device(name);
    if (kind != Handles::Kind::closed)
        r.ax = dos.handles.open_device(kind);
    else
        r.ax = dos.handles.open(dos.drive.place(name), O_RDWR | O_CREAT | flags);
}

}  // namespace

std::string name_at(Kernel& dos, uint16_t segment, uint16_t offset) {
    return dos.machine.read_until(segment, offset, '\0', longest_name);
}

void create_file(Kernel& dos, Registers& r) { create(dos, r, O_TRUNC); }
void create_new_file(Kernel& dos, Registers& r) { create(dos, r, O_EXCL); }

// AL bits 2:0: 0 read, 1 write, 2 both.
void open_file(Kernel& dos, Registers& r) {
    static constexpr int ways[] = {O_RDONLY, O_WRONLY, O_RDWR};
    const std::string name = name_at(dos, r.ds, r.dx);
    const uint8_t access = r.al() & access_mask;
    if (access >= sizeof ways / sizeof *ways) throw Failure{DosError::invalid_function};
    const Handles::Kind kind = device(name);
    r.ax = kind != Handles::Kind::closed ? dos.handles.open_device(kind)
                                         : dos.handles.open(dos.drive.existing(name), ways[access]);
}

void close_file(Kernel& dos, Registers& r) { dos.handles.close(r.bx); }

// BX, CX bytes to DS:DX; of the console at most a line, which ends with CR LF.
void read_file(Kernel& dos, Registers& r) {
    std::string bytes;
    switch (dos.handles.kind(r.bx)) {
        case Handles::Kind::console:
            if (dos.console.peek() == end_of_input) break;
            bytes = dos.console.line(r.cx) + "\r\n";
            dos.console.put("\r\n");
            bytes.resize(std::min<size_t>(bytes.size(), r.cx));
            break;
        case Handles::Kind::file: bytes = dos.handles.read(r.bx, r.cx); break;
        default: break;
    }
    dos.machine.write(r.ds, r.dx, bytes.data(), bytes.size());
    r.ax = static_cast<uint16_t>(bytes.size());
}

// BX, CX bytes from DS:DX. Of no bytes at all, the file ends here.
void write_file(Kernel& dos, Registers& r) {
    const std::string bytes = dos.machine.read(r.ds, r.dx, r.cx);
    r.ax = r.cx;
    switch (dos.handles.kind(r.bx)) {
        case Handles::Kind::console: dos.console.put(bytes); break;
        case Handles::Kind::file:
            if (r.cx == 0)
                dos.handles.cut(r.bx);
            else
                r.ax = dos.handles.write(r.bx, bytes);
            break;
        default: break;
    }
}

void seek_file(Kernel& dos, Registers& r) {
    const uint32_t position =
        dos.handles.seek(r.bx, static_cast<int32_t>(static_cast<uint32_t>(r.cx) << 16 | r.dx), r.al());
    r.dx = static_cast<uint16_t>(position >> 16);
    r.ax = static_cast<uint16_t>(position);
}

void duplicate(Kernel& dos, Registers& r) { r.ax = dos.handles.duplicate(r.bx); }
void duplicate_to(Kernel& dos, Registers& r) { dos.handles.duplicate_to(r.bx, r.cx); }

// AL 0: what kind of device; 6 and 7: ready to be read, to be written.
void device_control(Kernel& dos, Registers& r) {
    const Handles::Kind kind = dos.handles.kind(r.bx);
    switch (r.al()) {
        case 0:
            r.dx = kind == Handles::Kind::file      ? on_drive_c | not_at_end
                   : kind == Handles::Kind::console ? is_device | is_console
                                                    : is_device;
            r.ax = r.dx;
            break;
        case 6: r.al(kind != Handles::Kind::console || dos.console.has_key() ? 0xff : 0); break;
        case 7: r.al(0xff); break;
        default: throw Failure{DosError::invalid_function};
    }
}

// AL 0 asks for time (CX) and date (DX) of a file, 1 sets them.
void file_time(Kernel& dos, Registers& r) {
    const int fd = dos.handles.descriptor(r.bx);
    struct stat info;
    if (fstat(fd, &info) != 0) throw Failure{DosError::access_denied};
    if (r.al() == 0) {
        const Stamp stamp = stamp_of(info.st_mtime);
        r.cx = stamp.time;
        r.dx = stamp.date;
    } else if (r.al() == 1) {
        const time_t moment = moment_of({r.cx, r.dx});
        const timespec times[] = {{moment, 0}, {moment, 0}};
        if (futimens(fd, times) != 0) throw Failure{DosError::access_denied};
    } else {
        throw Failure{DosError::invalid_function};
    }
}

}  // namespace dos
