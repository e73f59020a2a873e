// The open files of a program, by number. 0 to 4 are devices from the start: input, output, errors, serial port,
// printer.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>

namespace dos {

class Handles {
   public:
    enum class Kind { closed, console, nothing, file };

    Handles();
    ~Handles();
    Handles(const Handles&) = delete;
    Handles& operator=(const Handles&) = delete;

    // The lowest free number. `flags` are those of open(2).
    uint16_t open(const std::filesystem::path& path, int flags);
    uint16_t open_device(Kind kind);
    void close(uint16_t handle);
    uint16_t duplicate(uint16_t handle);
    void duplicate_to(uint16_t handle, uint16_t target);
    Kind kind(uint16_t handle) const;  // raises invalid_handle for one that is not open

    // On files.
    std::string read(uint16_t handle, size_t size);
    uint16_t write(uint16_t handle, const std::string& bytes);
    void cut(uint16_t handle);  // the file ends where the next byte would go
    uint32_t seek(uint16_t handle, int32_t offset, uint8_t from);
    int descriptor(uint16_t handle) const;

   private:
    struct Slot {
        Kind kind = Kind::closed;
        int fd = -1;
    };
    uint16_t free_slot() const;

    std::array<Slot, 20> slots_;
};

}  // namespace dos
