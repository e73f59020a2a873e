#include "drive.h"

#include <sys/stat.h>

#include <algorithm>

#include "errors.h"
#include "names.h"

namespace fs = std::filesystem;

namespace dos {
namespace {

// The host's name for a DOS name in this folder; empty where there is none.
fs::path find_in(const fs::path& folder, const std::string& name) {
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored))
        if (!entry.is_symlink(ignored) && upper(entry.path().filename().string()) == name) return entry.path();
    return {};
}

Entry entry_of(const fs::path& path, const struct stat& info) {
    const bool folder = S_ISDIR(info.st_mode);
    const uint8_t kind = folder ? directory : archive;
    const Stamp stamp = stamp_of(info.st_mtime);
    const auto size = folder ? 0 : static_cast<uint32_t>(std::min<off_t>(info.st_size, UINT32_MAX));
    return {upper(path.filename().string()), static_cast<uint8_t>(info.st_mode & S_IWUSR ? kind : kind | read_only),
            stamp.time, stamp.date, size};
}

}  // namespace

Stamp stamp_of(time_t moment) {
    tm parts{};
    localtime_r(&moment, &parts);
    const int year = std::clamp(parts.tm_year - 80, 0, 127);
    return {static_cast<uint16_t>(parts.tm_hour << 11 | parts.tm_min << 5 | parts.tm_sec / 2),
            static_cast<uint16_t>(year << 9 | (parts.tm_mon + 1) << 5 | parts.tm_mday)};
}

time_t moment_of(Stamp stamp) {
    tm parts{};
    parts.tm_hour = stamp.time >> 11;
    parts.tm_min = stamp.time >> 5 & 63;
    parts.tm_sec = (stamp.time & 31) * 2;
    parts.tm_year = (stamp.date >> 9) + 80;
    parts.tm_mon = (stamp.date >> 5 & 15) - 1;
    parts.tm_mday = stamp.date & 31;
    parts.tm_isdst = -1;
    return mktime(&parts);
}

// From the root, in capitals, without . and .. in it.
std::vector<std::string> Drive::normal(const std::string& path) const {
    std::string rest = upper(path);
    if (rest.size() >= 2 && rest[1] == ':') {
        if (rest[0] != 'C') throw Failure{DosError::invalid_drive};
        rest.erase(0, 2);
    }
    const bool from_root = !rest.empty() && (rest[0] == '\\' || rest[0] == '/');
    std::vector<std::string> parts = from_root ? std::vector<std::string>{} : current_;
    for (const std::string& part : path_parts(rest)) {
        if (part.empty() || part == ".") continue;
        if (part != "..") {
            parts.push_back(part);
        } else {
            if (parts.empty()) throw Failure{DosError::path_not_found};
            parts.pop_back();
        }
    }
    return parts;
}

// The folder that the first `count` parts lead to.
fs::path Drive::folder_of(const std::vector<std::string>& parts, size_t count) const {
    fs::path folder = root_;
    for (size_t n = 0; n < count; ++n) {
        folder = find_in(folder, parts[n]);
        if (folder.empty() || !fs::is_directory(folder)) throw Failure{DosError::path_not_found};
    }
    return folder;
}

fs::path Drive::existing(const std::string& path) const {
    const std::vector<std::string> parts = normal(path);
    if (parts.empty()) return root_;
    const fs::path found = find_in(folder_of(parts, parts.size() - 1), parts.back());
    if (found.empty()) throw Failure{DosError::file_not_found};
    return found;
}

fs::path Drive::place(const std::string& path) const {
    const std::vector<std::string> parts = normal(path);
    if (parts.empty()) throw Failure{DosError::access_denied};
    const fs::path folder = folder_of(parts, parts.size() - 1);
    const fs::path found = find_in(folder, parts.back());
    if (!found.empty()) return found;
    if (!short_name(parts.back())) throw Failure{DosError::file_not_found};
    if (fs::exists(fs::symlink_status(folder / parts.back()))) throw Failure{DosError::access_denied};  // a link
    return folder / parts.back();
}

std::vector<Entry> Drive::matching(const std::string& pattern) const {
    const std::vector<std::string> parts = normal(pattern);
    if (parts.empty()) return {};
    const auto wanted = short_pattern(parts.back());
    if (!wanted) throw Failure{DosError::file_not_found};
    std::vector<Entry> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_of(parts, parts.size() - 1))) {
        struct stat info;
        const auto name = short_name(entry.path().filename().string());
        if (!name || !matches(*wanted, *name) || lstat(entry.path().c_str(), &info) != 0) continue;
        if (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) found.push_back(entry_of(entry.path(), info));
    }
    std::sort(found.begin(), found.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
    return found;
}

void Drive::change_directory(const std::string& path) {
    const std::vector<std::string> parts = normal(path);
    folder_of(parts, parts.size());
    current_ = parts;
}

std::string Drive::current_directory() const {
    std::string path;
    for (const std::string& part : current_) path += (path.empty() ? "" : "\\") + part;
    return path;
}

}  // namespace dos
