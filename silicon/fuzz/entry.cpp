// Entry checks and controls: random VMCS fields under a guest that could run. An entry that fails changes nothing, and
// what is entered runs within its budget.
#include <string>

#include "silicon/fuzz/guest.h"

namespace silicon::fuzz {
namespace {

using namespace x86;

constexpr unsigned entries = 24, most_writes = 6, most_pages = 80;
// By width and kind as encodings are made: bits 14:13 width, 11:10 kind, 9:1 index. SDM vol. 3, "Field Encoding in
// VMCS".
constexpr u32 field_rows[][2] = {{0x0000, 3}, {0x0800, 10}, {0x2000, 16}, {0x2800, 12}, {0x4000, 18},
                                 {0x4400, 8}, {0x4800, 24}, {0x6000, 8},  {0x6400, 6},  {0x6800, 20}};

u32 random_field(Chance& chance) {
    if (chance.one_in(20)) return u32(chance.below(0x10000));
    const auto& row = field_rows[chance.below(std::size(field_rows))];
    return row[0] + 2 * u32(chance.below(row[1]));
}

u64 random_value(Chance& chance, u64 old) {
    switch (chance.below(6)) {
        case 0: return old ^ u64 { 1 } << chance.below(64);
        case 1: return old ^ u64 { 1 } << chance.below(32);
        case 2: return chance.below(ram_bytes) & ~page_offset_mask;
        case 3: return old + chance.below(3) - 1;
        default: return chance.number();
    }
}

// Only bits that the capability words allow, or nothing would ever be entered.
void random_controls(Chance& chance, Cpu& cpu) {
    const auto within = [&](unsigned word, u32 old) {
        bool known = false;
        const u64 cap = Capabilities::word(word, known);
        return ((old ^ u32(chance() & chance() & chance())) & u32(cap >> 32)) | u32(cap);
    };
    cpu.write_vmcs(0x4000, within(0, cpu.vmcs.pin));
    cpu.write_vmcs(0x4002, within(1, cpu.vmcs.proc));
    cpu.write_vmcs(0x401e, within(2, cpu.vmcs.proc2));
    if (chance.one_in(2))
        cpu.write_vmcs(0x4016,
                       u64{1} << 31 | chance.below(8) << 8 | chance.below(32) | (chance.one_in(3) ? 1 << 11 : 0));
    if (chance.one_in(4)) cpu.write_vmcs(0x2014, 0xfee00000);
    cpu.write_vmcs(0x4004, chance() & chance());
}

void require_readable(Case& it, const Cpu& cpu, u32 field, u64 value) {
    u64 back = 0;
    if (!cpu.read_vmcs(field, back)) fail(it, "VMCS field %#x takes a value and cannot be read", field);
    if ((back & ~value) != 0 && back != value && (field & 0x6000) == 0x2000)
        fail(it, "VMCS field %#x reads %#llx after %#llx was written", field, static_cast<unsigned long long>(back),
             static_cast<unsigned long long>(value));
}

}  // namespace

void run_entry(Case& it) {
    static HostPages host(most_pages);
    Chance& c = it.chance;
    World world(host, random_pages(c));
    const Mode mode = static_cast<Mode>(c.below(static_cast<u64>(Mode::Long5)));  // VMX does not offer 5 levels
    Cpu cpu(world.memory, world.clock, 0, true);
    fill_tables(c, world);
    fill_page_tables(c, world, mode == Mode::Compatible ? Mode::Long : mode);
    fill_code(c, world);
    enter_mode(c, cpu, mode);
    random_registers(c, cpu);
    cpu.vmcs.entry_controls |= cpu.efer & efer::lma ? entry_control::ia32e : 0;
    Cpu kept(world.memory, world.clock, 1, true);
    for (unsigned n = 0; n < entries && it.budget; ++n) {
        copy_state(cpu, kept);
        kept.vmcs = cpu.vmcs;
        if (c.one_in(2)) random_controls(c, cpu);
        for (u64 writes = c.below(most_writes); writes > 0; --writes) {
            const u32 field = random_field(c);
            u64 old = 0;
            cpu.read_vmcs(field, old);
            const u64 value = random_value(c, old);
            if (cpu.write_vmcs(field, value)) require_readable(it, cpu, field, value);
        }
        (void)cpu.state_problem();  // loads the PDPTE registers
        const std::vector<u64> before = values_of(cpu);
        const bool refused = cpu.entry_problem() != nullptr;
        if (!refused) {
            RunLimits limits;
            limits.budget = 1 + c.below(200);
            run_once(it, cpu, limits);
        }
        const bool failed = !refused && cpu.exit.kind == ExitKind::BadGuestState;
        // Without "load EFER" the entry itself makes the mode, and loads PAE's registers for it.
        if (failed && cpu.vmcs.entry_controls & entry_control::load_efer) {
            if (!cpu.exit.text) fail(it, "an entry failed without a word");
            const std::string differs = difference(before, values_of(cpu));
            if (!differs.empty())
                fail(it, "an entry that failed (%s) changed the state: %s", cpu.exit.text, differs.c_str());
        }
        if (refused || failed) {
            copy_state(kept, cpu);
            cpu.vmcs = kept.vmcs;
        } else if (!go_on(c, cpu)) {
            break;
        }
    }
}

}  // namespace silicon::fuzz
