// Memory that is mapped, unmapped and protected by other threads while random guests run in it. The host page of what
// is unmapped is closed as soon as unmap() has returned: who still uses it ends the process.
#include <thread>

#include "silicon/fuzz/guest.h"

namespace silicon::fuzz {
namespace {

using namespace x86;

constexpr unsigned vcpus = 2, changers = 2, most_pages = 80, runs = 60;

struct Storm {
    World& world;
    HostPages& host;
    Cpu* cpus[vcpus];
    std::atomic<unsigned> running{vcpus};
};

void run_guest(Case& shared, Storm& storm, unsigned which) {
    Case it{shared.seed, shared.number * vcpus + which, shared.budget, shared.board};
    Cpu& cpu = *storm.cpus[which];
    for (unsigned n = 0; n < runs && it.budget; ++n) {
        RunLimits limits;
        limits.budget = 1 + it.chance.below(3000);
        run_once(it, cpu, limits);
        if (go_on(it.chance, cpu)) continue;
        cpu.abandon();
        cpu.reset_fresh();
        enter_mode(it.chance, cpu, it.chance.pick({Mode::Real, Mode::Protected, Mode::Long, Mode::Paged32}));
        random_registers(it.chance, cpu);
    }
    --storm.running;
}

// Every second page of RAM is one changer's, so that two never change the same.
void change(Storm& storm, u64 seed, unsigned which) {
    Chance chance(seed, which);
    const unsigned pages = unsigned(ram_bytes / page_bytes);
    while (storm.running.load() > 0) {
        const unsigned n = unsigned(chance.below(pages / changers)) * changers + which;
        const u64 gpa = u64{n} * page_bytes;
        switch (chance.below(4)) {
            case 0:
            case 1:
                storm.world.memory.unmap(gpa, page_bytes);
                storm.host.allow(n, perm_none);
                if (chance.one_in(4)) std::this_thread::yield();
                storm.host.allow(n, perm_all);
                storm.world.memory.map(gpa, storm.host.page(n), page_bytes, perm_all);
                break;
            case 2: storm.world.memory.protect(gpa, page_bytes, u8(chance.below(8))); break;
            default: storm.cpus[chance.below(vcpus)]->kick(); break;
        }
    }
}

}  // namespace

void run_changes(Case& it) {
    static HostPages host(most_pages);
    Chance& c = it.chance;
    std::vector<GuestPage> pages;
    for (u64 gpa = 0; gpa < ram_bytes; gpa += page_bytes) pages.push_back({gpa, perm_all});
    World world(host, pages);
    fill_tables(c, world);
    fill_page_tables(c, world, Mode::Long);
    fill_code(c, world);
    Storm storm{world, host, {}};
    std::unique_ptr<Cpu> cpus[vcpus];
    for (unsigned n = 0; n < vcpus; ++n) {
        cpus[n] = std::make_unique<Cpu>(world.memory, world.clock, n, false);
        enter_mode(c, *cpus[n], Mode::Long);
        random_registers(c, *cpus[n]);
        storm.cpus[n] = cpus[n].get();
    }
    std::vector<std::thread> threads;
    for (unsigned n = 0; n < vcpus; ++n) threads.emplace_back([&, n] { run_guest(it, storm, n); });
    for (unsigned n = 0; n < changers; ++n) threads.emplace_back([&, n] { change(storm, it.seed + it.number, n); });
    for (std::thread& thread : threads) thread.join();
    for (const GuestPage& page : pages) host.allow(unsigned(page.gpa / page_bytes), perm_all);
}

}  // namespace silicon::fuzz
