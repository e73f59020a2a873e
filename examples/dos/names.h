// DOS file names: eight characters, a dot, three characters.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace dos {

// The name and the extension, padded with spaces.
using ShortName = std::array<char, 11>;

std::string upper(std::string text);
// Nothing for a name that DOS cannot have.
std::optional<ShortName> short_name(const std::string& name);
// The same for a pattern, where * stands for ? to the end of its part.
std::optional<ShortName> short_pattern(const std::string& pattern);
bool matches(const ShortName& pattern, const ShortName& name);
// Split at \ and /; without the drive.
std::vector<std::string> path_parts(const std::string& path);

}  // namespace dos
