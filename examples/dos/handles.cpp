#include "handles.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "errors.h"

namespace dos {
namespace {

DosError error_of(int number) {
    switch (number) {
        case ENOENT: return DosError::file_not_found;
        case ENOTDIR: return DosError::path_not_found;
        case EEXIST: return DosError::file_exists;
        case EMFILE:
        case ENFILE: return DosError::too_many_open_files;
        default: return DosError::access_denied;
    }
}

constexpr mode_t everybody = 0666;  // what the umask leaves of it

}  // namespace

Handles::Handles() {
    for (size_t device : {0, 1, 2}) slots_[device].kind = Kind::console;
    for (size_t device : {3, 4}) slots_[device].kind = Kind::nothing;
}

Handles::~Handles() {
    for (Slot& slot : slots_)
        if (slot.fd >= 0) ::close(slot.fd);
}

uint16_t Handles::free_slot() const {
    for (uint16_t n = 0; n < slots_.size(); ++n)
        if (slots_[n].kind == Kind::closed) return n;
    throw Failure{DosError::too_many_open_files};
}

uint16_t Handles::open(const std::filesystem::path& path, int flags) {
    const uint16_t handle = free_slot();
    const int fd = ::open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, everybody);
    if (fd < 0) throw Failure{error_of(errno)};
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        ::close(fd);
        throw Failure{DosError::access_denied};
    }
    slots_[handle] = {Kind::file, fd};
    return handle;
}

uint16_t Handles::open_device(Kind kind) {
    const uint16_t handle = free_slot();
    slots_[handle] = {kind, -1};
    return handle;
}

Handles::Kind Handles::kind(uint16_t handle) const {
    if (handle >= slots_.size() || slots_[handle].kind == Kind::closed) throw Failure{DosError::invalid_handle};
    return slots_[handle].kind;
}

int Handles::descriptor(uint16_t handle) const {
    if (kind(handle) != Kind::file) throw Failure{DosError::access_denied};
    return slots_[handle].fd;
}

void Handles::close(uint16_t handle) {
    kind(handle);
    if (slots_[handle].fd >= 0) ::close(slots_[handle].fd);
    slots_[handle] = {};
}

// Both have one position, as the host's descriptors do.
void Handles::duplicate_to(uint16_t handle, uint16_t target) {
    const Kind which = kind(handle);
    if (target >= slots_.size()) throw Failure{DosError::invalid_handle};
    if (handle == target) return;
    if (slots_[target].kind != Kind::closed) close(target);
    slots_[target] = {which, which == Kind::file ? fcntl(slots_[handle].fd, F_DUPFD_CLOEXEC, 0) : -1};
}

uint16_t Handles::duplicate(uint16_t handle) {
    const uint16_t target = free_slot();
    duplicate_to(handle, target);
    return target;
}

std::string Handles::read(uint16_t handle, size_t size) {
    std::string bytes(size, '\0');
    const ssize_t count = ::read(descriptor(handle), bytes.data(), size);
    if (count < 0) throw Failure{DosError::access_denied};
    bytes.resize(static_cast<size_t>(count));
    return bytes;
}

uint16_t Handles::write(uint16_t handle, const std::string& bytes) {
    const ssize_t count = ::write(descriptor(handle), bytes.data(), bytes.size());
    if (count < 0) throw Failure{DosError::access_denied};
    return static_cast<uint16_t>(count);
}

void Handles::cut(uint16_t handle) {
    const int fd = descriptor(handle);
    if (ftruncate(fd, lseek(fd, 0, SEEK_CUR)) != 0) throw Failure{DosError::access_denied};
}

uint32_t Handles::seek(uint16_t handle, int32_t offset, uint8_t from) {
    static constexpr int ways[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    if (from >= sizeof ways / sizeof *ways) throw Failure{DosError::invalid_function};
    const off_t position = lseek(descriptor(handle), offset, ways[from]);
    if (position < 0) throw Failure{DosError::invalid_function};
    return static_cast<uint32_t>(position);
}

}  // namespace dos
