#include "silicon/fuzz/supervisor.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "silicon/clock.h"

namespace silicon::fuzz {
namespace {

constexpr int promise_broken = 3;
constexpr unsigned look_us = 20'000;
constexpr const char* kind_names[exit_kinds] = {
    "None",        "PortIn",    "PortOut",         "PortOutMany", "MmioLoad",       "MmioStore",
    "MmioFetch",   "Halted",    "Shutdown",        "Kicked",      "DeadlinePassed", "BudgetSpent",
    "MonitorTrap", "Exception", "InterruptWindow", "NmiWindow",   "MsrRead",        "MsrWrite",
    "Cpuid",       "Hypercall", "CrAccess",        "DrAccess",    "BadGuestState",  "Breakpoint",
    "Watchpoint",  "Unnamed"};

volatile std::sig_atomic_t interrupted = 0;
unsigned long long u(u64 value) { return value; }

Board* shared_board() {
    void* memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        std::perror("hv-fuzz: shared memory");
        std::exit(2);
    }
    return new (memory) Board{};
}

void run_case(const Target& target, const Options& o, u64 number, u64 budget, Board& board) {
    board.number = number;
    board.started_ns = Clock::host_ns();
    board.said[0] = 0;
    Case it{o.seed, number, budget, board};
    target.run(it);
    ++board.cases;
}

struct Ended {
    bool ok = false, hung = false, stopped = false;
    std::string how;
};

// Waits for a child; one that stays too long in one case is killed.
Ended wait_for(pid_t child, const Board& board, unsigned hang_seconds, u64 end_ns) {
    for (;;) {
        int status = 0;
        const pid_t done = waitpid(child, &status, WNOHANG);
        if (done == child) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {true, false, false, ""};
            if (WIFEXITED(status) && WEXITSTATUS(status) == promise_broken) return {false, false, false, board.said};
            if (WIFSIGNALED(status))
                return {false, false, false, std::string("the process died: ") + strsignal(WTERMSIG(status))};
            return {
                false, false, false,
                "the process ended with " + std::to_string(WEXITSTATUS(status)) + " (a sanitizer's report is above)"};
        }
        const u64 started = board.started_ns, now = Clock::host_ns();  // in this order: a case may begin in between
        const bool over = interrupted || now >= end_ns;
        const bool hung = now - started > u64{hang_seconds} * 1'000'000'000;
        if (over || hung) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            return {!hung, hung, true,
                    hung ? "no end after " + std::to_string(hang_seconds) + " seconds: a run that hangs" : ""};
        }
        usleep(look_us);
    }
}

template <class Work>
pid_t fork_child(bool quiet, Work work) {
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child < 0) {
        std::perror("hv-fuzz: fork");
        std::exit(2);
    }
    if (child > 0) return child;
    std::signal(SIGINT, SIG_IGN);
    if (quiet)
        if (const int null = open("/dev/null", O_WRONLY); null >= 0) dup2(null, STDERR_FILENO);
    work();
    _exit(0);
}

bool fails(const Target& target, const Options& o, u64 number, u64 budget, Board& board) {
    board.started_ns = Clock::host_ns();
    const pid_t child = fork_child(true, [&] { run_case(target, o, number, budget, board); });
    return !wait_for(child, board, o.hang_seconds, ~u64{0}).ok;
}

// The fewest instructions with which the case still fails: then the one before them is the last that went well.
void narrow(const Target& target, const Options& o, u64 number) {
    Board* board = shared_board();
    u64 low = 0, high = o.budget;
    if (fails(target, o, number, high, *board)) {
        while (high - low > 1 && !interrupted)
            (fails(target, o, number, (low + high) / 2, *board) ? high : low) = (low + high) / 2;
        board->place[0] = 0;
        fails(target, o, number, low, *board);
        std::printf("  fails with --budget %llu", u(high));
        if (board->place[0]) std::printf("; after %llu instructions: %s", u(low), board->place);
        std::printf("\n");
    } else {
        std::printf("  it did not come again when it ran alone\n");
    }
    munmap(board, sizeof(Board));
}

struct Total {
    u64 began_ns = Clock::host_ns();
    unsigned findings = 0;
};

void progress(const Options& o, const Board& board, const Total& total, bool end) {
    if (!end && !isatty(STDOUT_FILENO)) return;
    const double seconds = double(Clock::host_ns() - total.began_ns) / 1e9;
    std::printf("%sseed %llu: %llu cases, %.1f million instructions, %llu faults, %u findings, %.0f s%s",
                end ? "" : "\r", u(o.seed), u(board.cases), double(board.instructions) / 1e6, u(board.faults),
                total.findings, seconds, end ? "\n" : "   ");
    if (end) {
        std::printf("exits:");
        for (unsigned n = 1; n < exit_kinds; ++n)
            if (board.exits[n]) std::printf(" %s %llu", kind_names[n], u(board.exits[n]));
        std::printf("\n");
    }
    std::fflush(stdout);
}

// Cases of one target from `number` on, for a while. True: go on with the next target.
bool search(const Target& target, const Options& o, u64& number, u64 last, u64 end_ns, Board& board, Total& total) {
    while (number < last) {
        board.started_ns = Clock::host_ns();
        const u64 first = number;
        const pid_t child = fork_child(false, [&] {
            for (u64 n = first; n < last; ++n) run_case(target, o, n, o.budget, board);
        });
        const Ended ended = wait_for(child, board, o.hang_seconds, end_ns);
        if (ended.ok && !ended.stopped) {
            number = last;
            return true;
        }
        if (ended.ok) return false;
        ++total.findings;
        number = board.number;
        std::printf("\nfinding: %s, case %llu: %s\n  again: hv-fuzz --target %s --seed %llu --case %llu\n", target.name,
                    u(number), ended.how.c_str(), target.name, u(o.seed), u(number));
        if (target.alone) narrow(target, o, number);
        ++number;
        if (total.findings >= o.findings) return false;
    }
    return true;
}

}  // namespace

void fail(Case& it, const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(it.board.said, sizeof it.board.said, format, arguments);
    va_end(arguments);
    std::fprintf(stderr, "%s\n", it.board.said);
    _exit(promise_broken);
}

int run_alone(const Options& o) {
    Board* board = shared_board();
    for (const Target* target : o.targets) {
        run_case(*target, o, o.first, o.budget, *board);
        std::printf("%s, case %llu: nothing is wrong%s%s\n", target->name, u(o.first),
                    board->place[0] ? "; at its end: " : "", board->place);
    }
    return 0;
}

int supervise(const Options& o) {
    constexpr u64 round = 200;  // cases of one target before the next one's turn
    Board* board = shared_board();
    Total total;
    std::signal(SIGINT, [](int) { interrupted = 1; });
    const u64 end_ns = o.seconds > 0 ? total.began_ns + u64(o.seconds * 1e9) : ~u64{0};
    bool on = true;
    for (u64 base = o.first; on && (!o.count || base < o.first + o.count); base += round) {
        for (const Target* target : o.targets) {
            u64 number = base;
            const u64 last = o.count ? std::min(base + round, o.first + o.count) : base + round;
            on = search(*target, o, number, last, end_ns, *board, total) && Clock::host_ns() < end_ns && !interrupted;
            progress(o, *board, total, false);
            if (!on) break;
        }
    }
    std::printf("%s", isatty(STDOUT_FILENO) ? "\n" : "");
    progress(o, *board, total, true);
    return total.findings ? 1 : 0;
}

}  // namespace silicon::fuzz
