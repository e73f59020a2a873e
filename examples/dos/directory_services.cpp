// INT 21h, functions 39h to 3Bh, 41h, 43h, 47h, 4Eh, 4Fh and 56h: names.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "services.h"

namespace dos {
namespace {

// The disk transfer area after a search. Its first 21 bytes are DOS's own: which search, and how far it has come.
struct [[gnu::packed]] Found {
    uint8_t reserved[17];
    uint16_t search, next;
    uint8_t attributes;
    uint16_t time, date;
    uint32_t size_bytes;
    char name[13];
};
static_assert(sizeof(Found) == 43);

void deliver(Kernel& dos, uint16_t search, uint16_t next) {
    if (search >= dos.searches.size() || next >= dos.searches[search].size()) throw Failure{DosError::no_more_files};
    const Entry& entry = dos.searches[search][next];
    Found found{};
    found.search = search;
    found.next = static_cast<uint16_t>(next + 1);
    found.attributes = entry.attributes;
    found.time = entry.time;
    found.date = entry.date;
    found.size_bytes = entry.size_bytes;
    std::strncpy(found.name, entry.name.c_str(), sizeof found.name - 1);
    dos.machine.write(dos.transfer.segment, dos.transfer.offset, &found, sizeof found);
}

void require(bool done) {
    if (done) return;
    throw Failure{errno == ENOENT ? DosError::file_not_found : DosError::access_denied};
}

}  // namespace

void set_transfer(Kernel& dos, Registers& r) { dos.transfer = {r.ds, r.dx}; }

void get_transfer(Kernel& dos, Registers& r) {
    r.es = dos.transfer.segment;
    r.bx = dos.transfer.offset;
}

// DS:DX is a pattern; folders are among them only if CX asks for them.
void find_first(Kernel& dos, Registers& r) {
    std::vector<Entry> found;
    for (const Entry& entry : dos.drive.matching(name_at(dos, r.ds, r.dx)))
        if (!(entry.attributes & directory) || r.cx & directory) found.push_back(entry);
    dos.searches.push_back(std::move(found));
    deliver(dos, static_cast<uint16_t>(dos.searches.size() - 1), 0);
    r.ax = 0;
}

void find_next(Kernel& dos, Registers& r) {
    Found last;
    const std::string bytes = dos.machine.read(dos.transfer.segment, dos.transfer.offset, sizeof last);
    std::memcpy(&last, bytes.data(), sizeof last);
    deliver(dos, last.search, last.next);
    r.ax = 0;
}

void delete_file(Kernel& dos, Registers& r) {
    require(unlink(dos.drive.existing(name_at(dos, r.ds, r.dx)).c_str()) == 0);
}

// DS:DX to ES:DI.
void rename_file(Kernel& dos, Registers& r) {
    const auto from = dos.drive.existing(name_at(dos, r.ds, r.dx)), to = dos.drive.place(name_at(dos, r.es, r.di));
    if (std::filesystem::exists(to)) throw Failure{DosError::access_denied};
    require(rename(from.c_str(), to.c_str()) == 0);
}

// AL 0 asks (CX), 1 sets; of the attributes the host has "read only".
void attributes(Kernel& dos, Registers& r) {
    const auto path = dos.drive.existing(name_at(dos, r.ds, r.dx));
    struct stat info;
    require(stat(path.c_str(), &info) == 0);
    if (r.al() == 0) {
        const unsigned kind = S_ISDIR(info.st_mode) ? directory : archive;
        r.cx = static_cast<uint16_t>(kind | (info.st_mode & S_IWUSR ? 0 : read_only));
        r.ax = r.cx;
    } else if (r.al() == 1) {
        constexpr mode_t anyone_writes = S_IWUSR | S_IWGRP | S_IWOTH;
        require(chmod(path.c_str(), r.cx & read_only ? info.st_mode & ~anyone_writes : info.st_mode | S_IWUSR) == 0);
    } else {
        throw Failure{DosError::invalid_function};
    }
}

void make_directory(Kernel& dos, Registers& r) {
    constexpr mode_t everybody = 0777;
    require(mkdir(dos.drive.place(name_at(dos, r.ds, r.dx)).c_str(), everybody) == 0);
}

void remove_directory(Kernel& dos, Registers& r) {
    const auto path = dos.drive.existing(name_at(dos, r.ds, r.dx));
    if (path == dos.drive.root()) throw Failure{DosError::access_denied};
    require(rmdir(path.c_str()) == 0);
}

void change_directory(Kernel& dos, Registers& r) { dos.drive.change_directory(name_at(dos, r.ds, r.dx)); }

// To DS:SI. DL: 0 the current drive, 3 C:.
void current_directory(Kernel& dos, Registers& r) {
    if (r.dl() != 0 && r.dl() != 3) throw Failure{DosError::invalid_drive};
    const std::string path = dos.drive.current_directory();
    dos.machine.write(r.ds, r.si, path.c_str(), path.size() + 1);
    r.ax = 0x100;
}

// A disk of 32 MiB, half of it free: sectors a cluster, free clusters, bytes a sector, clusters.
void free_space(Kernel&, Registers& r) {
    r.ax = 8;
    r.bx = 4096;
    r.cx = 512;
    r.dx = 8192;
}

}  // namespace dos
