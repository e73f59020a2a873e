// hv-fuzz: guests of random bits on the software CPU. No guest may crash the process, hang it or touch memory that is
// not its.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "silicon/fuzz/supervisor.h"

namespace {

using namespace silicon;
using namespace silicon::fuzz;

constexpr Target targets[] = {
    {"code", "random and mutated instructions in every mode", run_code, true},
    {"paging", "random page tables of all formats", run_paging, true},
    {"entry", "random VMCS fields under a guest that could run", run_entry, true},
    {"changes", "memory that other threads change while guests run", run_changes, false},
};

constexpr const char* help =
    "hv-fuzz: guests of random bits on the software CPU\n"
    "\n"
    "  --target NAME   only this one (repeat for more; all when none is given)\n"
    "  --seed N        of the random guests (1)\n"
    "  --case N        only this case, in this process: for a debugger\n"
    "  --count N       stop after this many cases of each target (1000 when no limit is given)\n"
    "  --seconds S     stop after this time\n"
    "  --budget N      instructions that a case may run (20000)\n"
    "  --findings N    stop after this many findings (1)\n"
    "  --hang S        a case that takes longer is a finding (30)\n"
    "\n"
    "targets:\n";

void show_help(std::FILE* to) {
    std::fputs(help, to);
    for (const Target& target : targets) std::fprintf(to, "  %-8s %s\n", target.name, target.what);
    std::fputs(
        "\nA finding names its case, and with how few instructions it still comes.\nExit code: 0 nothing found, 1 "
        "something, 2 wrong use.\n",
        to);
}

[[noreturn]] void wrong_use(const std::string& what) {
    std::fprintf(stderr, "hv-fuzz: %s\n\n", what.c_str());
    show_help(stderr);
    std::exit(2);
}

u64 number(const std::string& option, const char* text) {
    char* end = nullptr;
    const u64 value = std::strtoull(text, &end, 0);
    if (end == text || *end || *text == '-') wrong_use(option + " " + text + ": a whole number would do");
    return value;
}

const Target* target_named(const char* name) {
    for (const Target& target : targets)
        if (!std::strcmp(target.name, name)) return &target;
    wrong_use(std::string("--target ") + name + ": there is no such target");
}

void take(Options& o, const std::string& option, const char* value) {
    if (option == "--target") o.targets.push_back(target_named(value));
    else if (option == "--seed") o.seed = number(option, value);
    else if (option == "--case") o.first = number(option, value), o.one = true;
    else if (option == "--count") o.count = number(option, value);
    else if (option == "--seconds") o.seconds = std::strtod(value, nullptr);
    else if (option == "--budget") o.budget = number(option, value);
    else if (option == "--findings") o.findings = unsigned(number(option, value));
    else if (option == "--hang") o.hang_seconds = unsigned(number(option, value));
    else wrong_use(option + ": there is no such option");
}

Options parse(int argc, char** argv) {
    Options o;
    for (int n = 1; n < argc; n += 2) {
        if (!std::strcmp(argv[n], "--help") || !std::strcmp(argv[n], "-h")) {
            show_help(stdout);
            std::exit(0);
        }
        if (n + 1 == argc) wrong_use(std::string(argv[n]) + ": no such option, or it lacks its value");
        take(o, argv[n], argv[n + 1]);
    }
    if (!o.count && o.seconds <= 0) o.count = 1000;
    if (o.targets.empty())
        for (const Target& target : targets) o.targets.push_back(&target);
    return o;
}

}  // namespace

int main(int argc, char** argv) {
    const Options options = parse(argc, argv);
    return options.one ? run_alone(options) : supervise(options);
}
