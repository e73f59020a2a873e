// What DOS tells a program in AX, with the carry flag set; and the ways a program ends.
#pragma once

#include <cstdint>
#include <stdexcept>

namespace dos {

enum class DosError : uint16_t {
    invalid_function = 1,
    file_not_found = 2,
    path_not_found = 3,
    too_many_open_files = 4,
    access_denied = 5,
    invalid_handle = 6,
    insufficient_memory = 8,
    invalid_block = 9,
    invalid_drive = 15,
    current_directory = 16,
    no_more_files = 18,
    file_exists = 80,
};

// A service that failed: the program is told.
struct Failure {
    DosError code;
};

// The program has ended by itself.
struct ProgramEnded {
    uint8_t code;
};

// The program did what cannot go on: an exception that it has no handler for, memory that is not there.
struct GuestFault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The file is no program for DOS.
struct BadProgram : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace dos
