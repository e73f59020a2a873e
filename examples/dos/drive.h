// Drive C: a folder of the host. Names are found whatever their case; nothing leads out of the folder, no link either.
#pragma once

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

namespace dos {

constexpr uint8_t read_only = 1, directory = 0x10, archive = 0x20;

// A file as a program sees it.
struct Entry {
    std::string name;
    uint8_t attributes;
    uint16_t time, date;
    uint32_t size_bytes;
};

struct Stamp {
    uint16_t time, date;
};
Stamp stamp_of(time_t moment);
time_t moment_of(Stamp stamp);

class Drive {
   public:
    explicit Drive(std::filesystem::path root) : root_(std::move(root)) {}

    // What exists under this name. Raises file_not_found, path_not_found, invalid_drive.
    std::filesystem::path existing(const std::string& path) const;
    // Where a file of this name is, or would be made; its folder exists.
    std::filesystem::path place(const std::string& path) const;
    // Those that a pattern fits, in order of their names.
    std::vector<Entry> matching(const std::string& pattern) const;

    void change_directory(const std::string& path);
    // Without drive and leading backslash.
    std::string current_directory() const;
    const std::filesystem::path& root() const { return root_; }

   private:
    std::vector<std::string> normal(const std::string& path) const;
    std::filesystem::path folder_of(const std::vector<std::string>& parts, size_t count) const;

    std::filesystem::path root_;
    std::vector<std::string> current_;
};

}  // namespace dos
