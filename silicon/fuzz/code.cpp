// Decoder and interpreter: random and mutated bytes in every mode. A run ends within its budget, a state that VMX would
// enter stays one, and a copy of the vCPU goes on as the vCPU does.
#include <string>

#include "silicon/fuzz/guest.h"

namespace silicon::fuzz {
namespace {

using namespace x86;

constexpr unsigned runs = 40, most_pages = 80;

void random_controls(Chance& chance, Cpu& cpu) {
    if (chance.one_in(6)) cpu.vmcs.exception_bitmap = u32(chance() & chance());
    if (chance.one_in(8))
        cpu.vmcs.proc |=
            u32(chance() & (proc::interrupt_window | proc::hlt | proc::invlpg | proc::rdtsc | proc::mov_dr |
                            proc::cr3_load | proc::cr8_load | proc::monitor_trap | proc::pause));
    if (chance.one_in(12)) cpu.unknown_msrs_exit = true;
    if (chance.one_in(12)) cpu.cpuid_exits = true;
    if (chance.one_in(12)) cpu.exiting_msrs = {0xc0000080, 0x174, 0x10};
}

// What clients and other processors do between two runs. True: there are breakpoints of the host now.
bool disturb(Case& it, Cpu& cpu) {
    Chance& c = it.chance;
    switch (c.below(24)) {
        case 0: cpu.kick(); break;
        case 1:
        case 2: {
            const EventType type = c.pick({EventType::External, EventType::Nmi, EventType::Hardware,
                                           EventType::Software, EventType::SoftwareException});
            Event event;
            event.vector = type == EventType::Nmi ? 2
                                                  : u8(type == EventType::External || type == EventType::Software
                                                           ? c.below(256)
                                                           : c.pick({0ull, 1ull, 6ull, 13ull, 14ull}));
            event.type = type;
            event.has_error = event.type == EventType::Hardware && event.vector >= 13 && cpu.in_protected();
            event.error = event.has_error ? u32(c.below(0x100)) : 0;
            cpu.vmcs.entry_length = u32(1 + c.below(4));
            cpu.inject(event);
            break;
        }
        case 3: cpu.set_breakpoint(cpu.at(Seg::Cs).base + cpu.rip + c.below(16), c.one_in(2)); return true;
        case 4: cpu.set_watchpoint(data_at + c.below(0x2000), 1 + c.below(8), c.one_in(2), true, true); return true;
        case 5: cpu.forget_translations(); break;
        case 6:
            if (c.one_in(4)) cpu.send_init();
            break;
        case 7:
            if (c.one_in(2)) cpu.send_start_up(u8(code_at >> 12));
            break;
        default: break;
    }
    return false;
}

// The same state in another vCPU with another memory, run side by side.
void run_beside_a_copy(Case& it, World& world, Cpu& cpu, const RunLimits& limits, HostPages& host) {
    World other(host, world);
    other.clock.executed(world.clock.now_ns());
    Cpu copy(other.memory, other.clock, 0, cpu.raw());
    copy_state(cpu, copy);
    copy.vmcs = cpu.vmcs;
    copy.exiting_msrs = cpu.exiting_msrs, copy.unknown_msrs_exit = cpu.unknown_msrs_exit,
    copy.cpuid_exits = cpu.cpuid_exits;
    copy.tsc_offset = cpu.tsc_offset, copy.cpuid = cpu.cpuid;
    cpu.state_changed();  // what the guest has not invalidated yet is forgotten on both sides
    const std::string before = difference(values_of(cpu), values_of(copy));
    if (!before.empty()) fail(it, "a copied state differs: %s", before.c_str());
    RunLimits within = limits;
    within.budget = std::min(limits.budget, it.budget);
    run_once(it, cpu, within);
    within.host_slice_ns = 2'000'000;
    copy.run(within);
    if (copy.exit.kind != cpu.exit.kind)
        fail(it, "a copy and the vCPU left differently; the copy: %s; the vCPU: %s", where(copy).c_str(),
             where(cpu).c_str());
    if (cpu.exit.kind == ExitKind::None) return;  // a slice of the host's time is over
    if (copy.exit.qualification != cpu.exit.qualification || copy.exit.gpa != cpu.exit.gpa ||
        copy.exit.value != cpu.exit.value)
        fail(it, "a copy left with another qualification, GPA or value (kind %u)", unsigned(cpu.exit.kind));
    const std::string after = difference(values_of(cpu), values_of(copy));
    if (!after.empty()) fail(it, "a copy came to another state: %s", after.c_str());
    if (u64 at = 0; !world.same_content(other, at))
        fail(it, "a copy has other memory at %#llx", static_cast<unsigned long long>(at));
}

}  // namespace

void run_code(Case& it) {
    static HostPages host(most_pages), other_host(most_pages);
    Chance& c = it.chance;
    World world(host, random_pages(c));
    const Mode mode = static_cast<Mode>(c.below(static_cast<u64>(Mode::Count)));
    Cpu cpu(world.memory, world.clock, 0, mode != Mode::Long5 && c.one_in(4));  // VMX does not offer 5 levels
    fill_tables(c, world);
    fill_page_tables(c, world,
                     mode == Mode::Wild         ? static_cast<Mode>(c.below(static_cast<u64>(Mode::Wild)))
                     : mode == Mode::Compatible ? Mode::Long
                                                : mode);
    fill_code(c, world);
    unsigned tries = mode == Mode::Wild ? 8 : 1;
    do {
        cpu.reset_fresh();
        enter_mode(c, cpu, mode);
        random_registers(c, cpu);
        if (cpu.raw())
            cpu.write_vmcs(0x4012, (cpu.vmcs.entry_controls & ~entry_control::ia32e) |
                                       (cpu.efer & efer::lma ? entry_control::ia32e : 0));
    } while (--tries && cpu.state_problem());
    random_controls(c, cpu);
    const char* why = cpu.state_problem();
    if (why && mode != Mode::Wild && mode != Mode::Pae)
        fail(it, "the fuzzer's own state of mode %u cannot be entered: %s", unsigned(mode), why);
    if (why) {
        run_once(it, cpu, RunLimits{});
        if (cpu.exit.kind != ExitKind::BadGuestState) fail(it, "a state that cannot be entered (%s) ran", why);
        return;
    }
    bool has_points = false;
    for (unsigned n = 0; n < runs && it.budget; ++n) {
        has_points |= disturb(it, cpu);
        if (cpu.entry_problem() || cpu.state_problem()) cpu.vmcs.entry_info = 0;  // an event that cannot come now
        RunLimits limits;
        limits.budget = 1 + c.below(c.one_in(4) ? 2000 : 60);
        limits.one = c.one_in(10);
        if (c.one_in(16)) limits.deadline_ns = world.clock.now_ns() + c.below(500);
        // What others ask for and the host's breakpoints are no state.
        const bool alike = cpu.requests == 0 && !has_points;
        if (c.one_in(8) && alike) run_beside_a_copy(it, world, cpu, limits, other_host);
        else run_once(it, cpu, limits);
        // A task switch may fault half-way in the new task and leave it so; an event that waits may not fit any more.
        const bool half_way = cpu.exit.kind == ExitKind::Shutdown || cpu.at(Seg::Cs).rights & ar::unusable;
        const bool between = half_way || cpu.vmcs.entry_info >> 31;
        why = between || c.one_in(4) ? nullptr : cpu.state_problem();
        if (why) fail(it, "a guest came to a state that no processor has (%s): %s", why, where(cpu).c_str());
        if (!go_on(c, cpu)) break;
    }
    it.board.faults += cpu.stats().faults;
}

}  // namespace silicon::fuzz
