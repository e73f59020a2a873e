#include "names.h"

#include <cctype>
#include <cstring>

namespace dos {
namespace {

constexpr size_t base_length = 8, extension_length = 3;

bool allowed(char c, bool wildcards) {
    if (wildcards && (c == '?' || c == '*')) return true;
    return static_cast<unsigned char>(c) > ' ' && !std::strchr("\"*+,./:;<=>?[\\]|", c);
}

// One part of a name into its field. False where it does not fit.
bool fill(char* field, size_t length, const std::string& part, bool wildcards) {
    std::memset(field, ' ', length);
    for (size_t n = 0; n < part.size(); ++n) {
        if (n >= length || !allowed(part[n], wildcards)) return false;
        if (part[n] == '*') {
            std::memset(field + n, '?', length - n);
            return n + 1 == part.size();
        }
        field[n] = part[n];
    }
    return true;
}

std::optional<ShortName> parse(const std::string& text, bool wildcards) {
    const std::string name = upper(text);
    const size_t dot = name.rfind('.');
    const std::string base = name.substr(0, dot), extension = dot == std::string::npos ? "" : name.substr(dot + 1);
    ShortName fields;
    if (base.empty() || !fill(fields.data(), base_length, base, wildcards)) return std::nullopt;
    if (!fill(fields.data() + base_length, extension_length, extension, wildcards)) return std::nullopt;
    return fields;
}

}  // namespace

std::string upper(std::string text) {
    for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return text;
}

std::optional<ShortName> short_name(const std::string& name) { return parse(name, false); }

std::optional<ShortName> short_pattern(const std::string& pattern) { return parse(pattern, true); }

bool matches(const ShortName& pattern, const ShortName& name) {
    for (size_t n = 0; n < name.size(); ++n)
        if (pattern[n] != '?' && pattern[n] != name[n]) return false;
    return true;
}

std::vector<std::string> path_parts(const std::string& path) {
    std::vector<std::string> parts(1);
    for (const char c : path) {
        if (c == '\\' || c == '/')
            parts.emplace_back();
        else
            parts.back().push_back(c);
    }
    return parts;
}

}  // namespace dos
