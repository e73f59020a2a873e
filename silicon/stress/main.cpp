// hv-stress: four vCPUs run while other threads map, unmap, protect, log stores, free and kick. Built with a sanitizer it finds what
// no assertion can: memory of the host that is touched after unmap() returned is freed memory here.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "silicon/clock.h"
#include "silicon/mem/guest_access.h"
#include "silicon/x86_64/cpu.h"

namespace {

using namespace silicon;
using namespace silicon::x86;

constexpr unsigned vcpu_count = 4, changer_count = 3;
constexpr u64 program_at = 0x1000, function_at = 0x2000, logged_at = 0x7000, data_at = 0x8000, data_pages = 8;
// next: call 0x2000 · lock inc dword [si] · add si, 0x1000 · or si, 0x8000 · lock inc dword [0x7000] · jmp next
constexpr u8 program[] = {0xe8, 0xfd, 0x0f, 0xf0, 0x66, 0xff, 0x04, 0x81, 0xc6, 0x00, 0x10, 0x81,
                          0xce, 0x00, 0x80, 0xf0, 0x66, 0xff, 0x06, 0x00, 0x70, 0xeb, 0xe9};
constexpr u8 function[] = {0xb8, 0x00, 0x00, 0xc3};  // mov ax, imm16 · ret

struct Free {
    void operator()(u8* memory) const { std::free(memory); }
};
using Host = std::unique_ptr<u8, Free>;

Host host_pages(u64 count) {
    Host memory(static_cast<u8*>(std::aligned_alloc(page_bytes, count * page_bytes)));
    if (!memory) std::abort();
    std::memset(memory.get(), 0, count * page_bytes);
    return memory;
}

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "hv-stress: %s\n", what);
    std::_Exit(1);
}

struct Machine {
    GuestMemory memory;
    Clock clock;
    std::vector<std::unique_ptr<Cpu>> cpus;
    std::atomic<bool> stop{false};
    std::atomic<u64> changes{0}, kicks{0};
};

// A vCPU's thread: where memory is not there or not writable it meets a device that takes everything.
void run_guest(Machine& machine, Cpu& cpu, u64 seed) {
    std::mt19937_64 choice(seed);
    while (!machine.stop.load(std::memory_order_relaxed)) {
        RunLimits limits;
        if (choice() % 4 == 0) limits.budget = 1 + choice() % 5000;
        limits.host_slice_ns = 20'000'000;
        switch (cpu.run(limits).kind) {
            case ExitKind::None:
            case ExitKind::Kicked:
            case ExitKind::BudgetSpent:
            case ExitKind::MmioStore: break;
            case ExitKind::MmioLoad: cpu.answer(choice()); break;
            case ExitKind::MmioFetch: std::this_thread::yield(); break;
            default: fail("a guest left for a reason that it does not have");
        }
    }
}

void require_calm(const u8* page) {
    const u32 before = load_host<u32>(page);
    std::this_thread::yield();
    if (load_host<u32>(page) != before) fail("a store landed after the change had returned");
}

// Takes pages of data away, looks that nothing lands, frees them and maps others.
void change_data(Machine& machine, u64 first, u64 count, u64 seed) {
    std::mt19937_64 choice(seed);
    std::vector<Host> pages;
    const auto gpa = [&](u64 n) { return data_at + (first + n) * page_bytes; };
    for (u64 n = 0; n < count; ++n) {
        pages.push_back(host_pages(1));
        machine.memory.map(gpa(n), pages[n].get(), page_bytes, perm_all);
    }
    while (!machine.stop.load(std::memory_order_relaxed)) {
        const u64 n = choice() % count;
        if (choice() % 2) {
            machine.memory.protect(gpa(n), page_bytes, choice() % 2 ? perm_read : perm_none);
            require_calm(pages[n].get());
            machine.memory.protect(gpa(n), page_bytes, perm_all);
        } else {
            machine.memory.unmap(gpa(n), page_bytes);
            require_calm(pages[n].get());
            pages[n] = host_pages(1);  // the old one is freed
            machine.memory.map(gpa(n), pages[n].get(), page_bytes, perm_all);
        }
        machine.changes.fetch_add(1, std::memory_order_relaxed);
    }
    machine.memory.unmap(gpa(0), count * page_bytes);
}

// The function that all vCPUs call: written over in place, or its page replaced and freed.
void change_code(Machine& machine, u64 seed) {
    std::mt19937_64 choice(seed);
    Host page;
    const auto renew = [&] {
        Host other = host_pages(1);
        std::memcpy(other.get(), function, sizeof function);
        if (page) machine.memory.unmap(function_at, page_bytes);
        page = std::move(other);
        machine.memory.map(function_at, page.get(), page_bytes, perm_all);
    };
    renew();
    while (!machine.stop.load(std::memory_order_relaxed)) {
        if (choice() % 2) {
            renew();
        } else {
            store_host<u16>(page.get() + 1, u16(choice()));
            machine.memory.code_written(function_at + 1, 2);
        }
        machine.changes.fetch_add(1, std::memory_order_relaxed);
        std::this_thread::yield();
    }
    machine.memory.unmap(function_at, page_bytes);
}

// Copies a page whenever its log tells of it; what is told last is the last that was stored.
u32 follow(GuestMemory& memory, const u8* page, u32 copy) {
    u8 written = 0;
    memory.take_written(logged_at, page_bytes, &written);
    return written ? load_host<u32>(page) : copy;
}

void follow_log(Machine& machine, const u8* page, u32& copy) {
    while (!machine.stop.load(std::memory_order_relaxed)) {
        copy = follow(machine.memory, page, copy);
        std::this_thread::yield();
    }
}

void kick(Machine& machine, u64 seed) {
    std::mt19937_64 choice(seed);
    while (!machine.stop.load(std::memory_order_relaxed)) {
        machine.cpus[choice() % vcpu_count]->kick();
        machine.kicks.fetch_add(1, std::memory_order_relaxed);
        std::this_thread::sleep_for(std::chrono::microseconds(choice() % 200));
    }
}

u64 storm(u64 seed, double seconds) {
    Machine machine;
    const Host low = host_pages(1), stacks = host_pages(vcpu_count), logged = host_pages(1);
    u32 copy = 0;
    std::memcpy(low.get(), program, sizeof program);
    machine.memory.map(program_at, low.get(), page_bytes, perm_read | perm_exec);
    machine.memory.map(0x3000, stacks.get(), vcpu_count * page_bytes, perm_all);
    machine.memory.map(logged_at, logged.get(), page_bytes, perm_all);
    machine.memory.log(logged_at, page_bytes, true);
    for (unsigned n = 0; n < vcpu_count; ++n) {
        auto cpu = std::make_unique<Cpu>(machine.memory, machine.clock, n, false);
        cpu->rip = program_at;
        cpu->gpr[rsi] = data_at + n * page_bytes;
        cpu->gpr[rsp] = 0x4000 + n * page_bytes;
        cpu->state_changed();
        machine.cpus.push_back(std::move(cpu));
    }
    std::vector<std::thread> threads;
    for (unsigned n = 0; n < vcpu_count; ++n) threads.emplace_back([&machine, n, seed] { run_guest(machine, *machine.cpus[n], seed + n); });
    const u64 owned[changer_count][2] = {{0, 3}, {3, 3}, {6, 2}};
    for (const auto& [first, count] : owned) threads.emplace_back(change_data, std::ref(machine), first, count, seed + 100 + first);
    threads.emplace_back(change_code, std::ref(machine), seed + 200);
    threads.emplace_back(kick, std::ref(machine), seed + 300);
    threads.emplace_back(follow_log, std::ref(machine), logged.get(), std::ref(copy));
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    machine.stop.store(true);
    for (const auto& cpu : machine.cpus) cpu->kick();
    for (std::thread& thread : threads) thread.join();
    if (follow(machine.memory, logged.get(), copy) != load_host<u32>(logged.get())) fail("a store was not logged");
    u64 instructions = 0;
    for (const auto& cpu : machine.cpus) instructions += cpu->instructions();
    std::printf("seed %llu: %llu changes, %llu kicks, %llu instructions\n", static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(machine.changes), static_cast<unsigned long long>(machine.kicks),
                static_cast<unsigned long long>(instructions));
    return machine.changes;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "hv-stress SEED SECONDS: memory changes under four running vCPUs\n");
        return 2;
    }
    return storm(std::strtoull(argv[1], nullptr, 0), std::strtod(argv[2], nullptr)) ? 0 : 1;
}
