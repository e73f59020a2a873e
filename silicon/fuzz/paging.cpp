// The page walker: random tables of all formats. What translate() says of an address is what an access then does, and
// the walker never leaves the guest's memory.
#include "silicon/fuzz/guest.h"

namespace silicon::fuzz {
namespace {

using namespace x86;

constexpr unsigned addresses = 40, most_pages = 80;
constexpr u8 load_al[] = {0x8a, 0x03}, store_al[] = {0x88, 0x03};  // mov al, [rbx]; mov [rbx], al

u64 random_linear(Chance& chance, Mode mode) {
    const u64 page = chance.below(4) ? chance.below(512) << chance.pick({12, 21, 30, 39, 48}) : chance.number();
    const u64 at = page | chance.below(512) << 12 | chance.below(page_bytes);
    if (mode == Mode::Paged32 || mode == Mode::Pae) return u32(at);
    const unsigned unused = mode == Mode::Long5 ? 7 : 16;
    return chance.one_in(16) ? at : u64(i64(at << unused) >> unused);
}

void check_access(Case& it, World& world, Cpu& cpu, u64 linear, bool write) {
    const auto at = static_cast<unsigned long long>(linear);
    u64 gpa = 0, again = 0;
    const bool said = cpu.translate(linear, write ? Access::Write : Access::Read, gpa);
    cpu.write_register(0, write ? code_at + 0x100 : code_at);
    cpu.gpr[rbx] = linear;
    RunLimits limits;
    limits.one = true;
    limits.budget = 1;
    run_once(it, cpu, limits);
    const ExitRecord& exit = cpu.exit;
    if (exit.kind == ExitKind::Exception && (exit.interruption_info & 0xff) != vector_pf &&
        (exit.interruption_info & 0xff) != vector_gp)
        fail(it, "an access of %#llx raised vector %u", at, exit.interruption_info & 0xff);
    const bool refused =
        exit.kind == ExitKind::Exception || exit.kind == ExitKind::Unnamed;  // or a table lies where no memory is
    const bool as_system = cpu.cpl == 0 && !(cpu.cr4 & cr4::smap);           // what translate() judges by
    if (refused && said && !as_system) return;
    if (said == refused)
        fail(it, "translate(%#llx, %s) says %d, the access came to exit kind %u", at, write ? "write" : "read", said,
             unsigned(exit.kind));
    if (!said) return;
    const bool device = exit.kind == ExitKind::MmioLoad || exit.kind == ExitKind::MmioStore;
    if (device && exit.gpa != gpa)
        fail(it, "translate(%#llx) says %#llx, the access went to %#llx", at, static_cast<unsigned long long>(gpa),
             static_cast<unsigned long long>(exit.gpa));
    if (!device && !write && u8(cpu.gpr[rax]) != *world.host(gpa))
        fail(it, "the byte at %#llx is not what was loaded from %#llx", static_cast<unsigned long long>(gpa), at);
    if (device) cpu.unanswered() ? cpu.answer(0) : void(), cpu.abandon();
    if (!cpu.translate(linear, write ? Access::Write : Access::Read, again) || (again != gpa && !write))
        fail(it, "translate(%#llx) has changed by an access", at);
}

}  // namespace

void run_paging(Case& it) {
    static HostPages host(most_pages);
    Chance& c = it.chance;
    World world(host, random_pages(c));
    const Mode mode = c.pick({Mode::Paged32, Mode::Pae, Mode::Long, Mode::Long5});
    Cpu cpu(world.memory, world.clock, 0, false);
    fill_page_tables(c, world, mode);
    // The code's own way is in order, so that only the access can fault.
    const u64 code_entry = code_at | 0x67, table = tables_at + 0x1000;
    world.write(mode == Mode::Paged32 ? table + code_at / page_bytes * 4 : table + code_at / page_bytes * 8,
                &code_entry, mode == Mode::Paged32 ? 4 : 8);
    enter_mode(c, cpu, mode);
    cpu.rflags = flag::always | (c.one_in(2) ? flag::ac : 0);
    cpu.cr4 &= ~cr4::smep;
    cpu.cr0 &= ~cr0::am;
    cpu.vmcs.exception_bitmap = ~u32{0};
    cpu.state_changed();
    if (cpu.state_problem()) return;  // PAE's registers with reserved bits
    world.write(code_at, load_al, sizeof load_al);
    world.write(code_at + 0x100, store_al, sizeof store_al);
    for (unsigned n = 0; n < addresses && it.budget; ++n) {
        const u64 linear = random_linear(c, mode);
        check_access(it, world, cpu, linear, false);
        // A store may hit the tables or the code itself: only where it cannot, it is judged too.
        u64 gpa = 0;
        if (cpu.translate(linear, Access::Write, gpa) && (gpa >= odd_at || (gpa >= data_at && gpa < tables_at)))
            check_access(it, world, cpu, linear, true);
    }
}

}  // namespace silicon::fuzz
