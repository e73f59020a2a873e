// hv-oracle: random instructions on the software CPU and on a judge, this processor or KVM; both must come to the same
// state.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "silicon/oracle/session.h"

namespace {

using silicon::oracle::Options;

constexpr const char* help =
    "hv-oracle: judge the software CPU's instructions by this processor\n"
    "\n"
    "  --judge host|kvm  this processor in a child process (host), or a guest of /dev/kvm in user mode\n"
    "  --seed N          of the random programs (1)\n"
    "  --count N         stop after this many instructions (200000 when no limit is given)\n"
    "  --seconds S       stop after this time\n"
    "  --family NAME     only rows of spec/x86_64/NAME.toml\n"
    "  --mnemonic NAME   only this instruction\n"
    "  --bits 64|32|16   only such code\n"
    "  --failures N      stop after this many different mismatches (1)\n"
    "  --at-least N      fail when a row was judged less often\n"
    "  --keep DIR        write mismatches as cases into this folder\n"
    "  --replay FILE...  run kept cases; both sides must come to the state in the file\n"
    "  --record FILE...  take the program of these files, write what this processor makes of it into them\n"
    "  --list            every row with its counts\n"
    "  --json            the result as JSON\n"
    "\n"
    "Exit code: 0 all the same, 1 something differs or was judged too rarely, 2 wrong use.\n";

[[noreturn]] void wrong_use(const char* what, const char* value) {
    std::fprintf(stderr, "hv-oracle: %s %s\n\n%s", what, value, help);
    std::exit(2);
}

double number(const char* option, const char* text) {
    char* end;
    const double value = std::strtod(text, &end);
    if (end == text || *end || value < 0)
        wrong_use("not a number that would do:", (std::string(option) + " " + text).c_str());
    return value;
}

bool flag_option(Options& o, const char* name) {
    if (!std::strcmp(name, "--list")) return o.list = true;
    if (!std::strcmp(name, "--json")) return o.json = true;
    return false;
}

bool value_option(Options& o, const char* name, const char* value) {
    const auto is = [&](const char* option) { return !std::strcmp(name, option); };
    if (is("--seed")) o.seed = std::strtoull(value, nullptr, 0);
    else if (is("--count")) o.count = static_cast<silicon::u64>(number(name, value));
    else if (is("--seconds")) o.seconds = number(name, value);
    else if (is("--family")) o.wishes.family = value;
    else if (is("--mnemonic")) o.wishes.mnemonic = value;
    else if (is("--bits")) o.wishes.bits = static_cast<unsigned>(number(name, value));
    else if (is("--failures")) o.failures = static_cast<unsigned>(number(name, value));
    else if (is("--at-least")) o.at_least = static_cast<silicon::u64>(number(name, value));
    else if (is("--keep")) o.keep = value;
    else if (is("--judge")) o.judge = value;
    else return false;
    return true;
}

// --replay and --record take all paths that follow.
bool file_option(Options& o, int& n, int argc, char** argv) {
    const bool replay = !std::strcmp(argv[n], "--replay"), record = !std::strcmp(argv[n], "--record");
    if (!replay && !record) return false;
    auto& files = replay ? o.replay : o.record;
    const char* option = argv[n];
    while (n + 1 < argc && argv[n + 1][0] != '-') files.push_back(argv[++n]);
    if (files.empty()) wrong_use(option, "needs the path of a case");
    return true;
}

Options parse(int argc, char** argv) {
    Options o;
    for (int n = 1; n < argc; ++n) {
        if (!std::strcmp(argv[n], "--help") || !std::strcmp(argv[n], "-h")) {
            std::printf("%s", help);
            std::exit(0);
        }
        if (file_option(o, n, argc, argv)) continue;
        if (flag_option(o, argv[n])) continue;
        if (n + 1 == argc || !value_option(o, argv[n], argv[n + 1]))
            wrong_use("no such option, or it lacks its value:", argv[n]);
        ++n;
    }
    const unsigned bits = o.wishes.bits;
    if (bits != 0 && bits != 16 && bits != 32 && bits != 64) wrong_use("--bits", "takes 64, 32 or 16");
    if (o.judge != "host" && o.judge != "kvm") wrong_use("--judge", "takes host or kvm");
    if (!o.count && o.seconds == 0) o.count = 200'000;
    return o;
}

}  // namespace

int main(int argc, char** argv) {
    const Options options = parse(argc, argv);
    try {
        silicon::oracle::Session session(options);
        if (!options.record.empty()) return session.record();
        return options.replay.empty() ? session.run() : session.replay();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "hv-oracle: %s\n", error.what());
        return 2;
    }
}
