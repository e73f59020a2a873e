// A program as a file: TOML of plain `key = value` lines, with its source and the expected state in words at its head.
#pragma once

#include <string>

#include "silicon/oracle/judge.h"

namespace silicon::oracle {

struct Case {
    Program program;
    Result expected{};
};

std::string case_text(const Program& program, const Result& expected);
// Throws std::runtime_error with file and line where it cannot be read.
Case read_case(const std::string& path);
// The program only: registers that are not given are 0, the expected state is still to come.
Program read_program(const std::string& path);
// The whole story of a difference, for people.
std::string story(const Program& program, const Result& host, const Result& soft, const Verdict& verdict);

}  // namespace silicon::oracle
