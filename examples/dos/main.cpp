// dos: runs a program for DOS, .COM or .EXE, in a virtual machine of Hypervisor.framework.
#include <fstream>
#include <iostream>
#include <iterator>

#include "console.h"
#include "drive.h"
#include "kernel.h"
#include "loader.h"

namespace {

constexpr int failed = 125;  // the emulator's own; other codes are the program's

constexpr const char* usage =
    "usage: dos [-c FOLDER] PROGRAM [ARGUMENT...]\n"
    "Runs a DOS program, .COM or .EXE. Drive C: is FOLDER, or the current one.\n"
    "The exit code is the program's; 125 when it cannot run, or goes wrong.\n";

int run(const std::filesystem::path& folder, const std::filesystem::path& program, const std::string& tail) {
    std::ifstream file(program, std::ios::binary);
    if (!file) throw dos::BadProgram("it cannot be read");
    const std::string image{std::istreambuf_iterator<char>(file), {}};
    dos::Console console;
    dos::Drive drive(std::filesystem::canonical(folder));
    dos::Kernel kernel(console, drive);
    dos::load(kernel, image, program.filename().string(), tail);
    return kernel.run();
}

}  // namespace

int main(int count, char** arguments) {
    int next = 1;
    std::filesystem::path folder = ".";
    if (count > 2 && std::string(arguments[1]) == "-c") {
        folder = arguments[2];
        next = 3;
    }
    if (next >= count || arguments[next][0] == '-') {
        std::cerr << usage;
        return failed;
    }
    const char* program = arguments[next++];
    std::string tail;
    for (; next < count; ++next) tail += std::string(" ") + arguments[next];
    try {
        return run(folder, program, tail);
    } catch (const std::exception& error) {
        std::cout.flush();
        std::cerr << "dos: " << program << ": " << error.what() << '\n';
        return failed;
    }
}
