#include "silicon/fuzz/guest.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "silicon/x86_64/host_float.h"

namespace silicon::fuzz {
namespace {

using namespace x86;

constexpr u32 code64 = 0xa09b, code32 = 0xc09b, code16 = 0x9b, data32 = 0xc093, data16 = 0x93, user = 0x60,
              v86_rights = 0xf3;
constexpr u64 rflags_settable = 0x3f7fd7;

void set_segments(Cpu& cpu, u32 code, u32 data, unsigned cpl) {
    const bool wide = data & ar::g;
    for (const Seg which : {Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs})
        cpu.at(which) = {0, wide ? 0xffffffff : 0xffff, data | (cpl ? user : 0), u16(0x10 | cpl)};
    cpu.at(Seg::Cs) = {0, code & ar::g ? 0xffffffff : 0xffff, code | (cpl ? user : 0), u16(8 | cpl)};
}

bool is_long(Mode mode) { return mode == Mode::Long || mode == Mode::Long5 || mode == Mode::Compatible; }
bool pages(Mode mode) { return is_long(mode) || mode == Mode::Paged32 || mode == Mode::Pae; }

void set_control(Chance& chance, Cpu& cpu, Mode mode) {
    cpu.efer = is_long(mode) ? efer::lme | efer::lma : 0;
    if (pages(mode)) cpu.efer |= chance() & (efer::nxe | efer::sce);
    cpu.cr0 = cr0::et | cr0::ne;
    if (mode != Mode::Real) cpu.cr0 |= cr0::pe | (chance() & (cr0::wp | cr0::am | cr0::mp));
    if (chance.one_in(8)) cpu.cr0 |= chance() & (cr0::ts | cr0::em);
    if (pages(mode)) cpu.cr0 |= cr0::pg;
    cpu.cr3 = tables_at;
    cpu.cr4 |= chance() & (cr4::pse | cr4::pge | cr4::tsd | cr4::de | cr4::osfxsr | cr4::osxmmexcpt | cr4::osxsave |
                           cr4::umip);
    if (chance.one_in(2)) cpu.xcr0 = xcr0_known;
    if (pages(mode) && chance.one_in(2)) cpu.cr4 |= chance() & (cr4::smep | cr4::smap);
    if (is_long(mode)) cpu.cr4 |= cr4::pae | (chance() & (cr4::fsgsbase | cr4::pcide));
    if (mode == Mode::Pae) cpu.cr4 |= cr4::pae;
    if (mode == Mode::Long5) cpu.cr4 |= cr4::la57;
}

void set_all_segments(Chance& chance, Cpu& cpu, Mode mode, unsigned cpl) {
    const bool odd = mode == Mode::Segmented;
    if (mode == Mode::Real) set_segments(cpu, code16, data16, 0);
    else if (mode == Mode::Long || mode == Mode::Long5) set_segments(cpu, code64, data32, cpl);
    else set_segments(cpu, odd && chance.one_in(2) ? code16 : code32, odd && chance.one_in(2) ? data16 : data32, cpl);
    if (odd) {
        constexpr u32 limits[] = {0xffff, 0xfff, 3, 0xfffff},
                      rights[] = {0x93, 0x97, 0x9b, 0x91, 0x4093, 0x4097, 0x10000};
        for (const Seg which : {Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs}) {
            const u64 base = chance.pick({u64{0}, u64{data_at}, u64{0xfff}, chance.below(ram_bytes)});
            const u32 right = chance.pick(rights) | (cpl ? user : 0);
            cpu.at(which) = {base, chance.pick(limits), right, u16(chance.below(64) * 8 | cpl)};
        }
    }
    if (mode != Mode::Virtual8086) return;
    cpu.rflags |= flag::vm;
    for (const Seg which : {Seg::Es, Seg::Cs, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs}) {
        const u16 selector = which == Seg::Cs ? 0 : u16(chance.below(0x2000));
        cpu.at(which) = {u64{selector} << 4, 0xffff, v86_rights, selector};
    }
}

// 5 levels run where CPUID announces them, which it does not by default.
void announce_five_levels(Cpu& cpu) {
    std::vector<CpuidLeaf> leaves = cpu.cpuid.leaves();
    for (CpuidLeaf& leaf : leaves)
        if (leaf.leaf == 7 && leaf.subleaf == 0) leaf.reg[2] |= 1 << 16;
    cpu.cpuid = CpuidTable(std::move(leaves));
}

}  // namespace

void enter_mode(Chance& chance, Cpu& cpu, Mode mode) {
    if (mode == Mode::Long5) announce_five_levels(cpu);
    const unsigned cpl = mode != Mode::Real && chance.one_in(3) ? 3 : 0;
    const u64 flags = chance() & rflags_settable & ~(flag::vm | flag::tf | flag::rf);
    cpu.rflags = flag::always | (chance.one_in(2) ? flags : 0);
    set_control(chance, cpu, mode);
    set_all_segments(chance, cpu, mode, cpl);
    constexpr u32 idt_limits[] = {0xfff, 0x7ff, 0x3ff, 0};
    cpu.gdtr = {gdt_at, 0x7ff}, cpu.idtr = {idt_at, chance.pick(idt_limits)};
    cpu.at(Seg::Tr) = {tss_at, chance.one_in(4) ? 0x67u : 0x1fffu, ar::present | 11, 0x30};
    if (chance.one_in(2)) cpu.at(Seg::Ldtr) = {ldt_at, 0x1ff, ar::present | 2, 0x40};
    if (mode == Mode::Wild) random_bits(chance, cpu);
    cpu.write_register(39, cpu.cr3);  // PAE's registers are loaded with it
}

// x87 and SSE registers; now and then control, status and tag words too, exceptions unmasked and pending.
static void random_vectors(Chance& chance, Cpu& cpu) {
    constexpr unsigned mxcsr_at = 24, registers_at = 32, end = 416;
    std::vector<u8> image = cpu.xsave_image();
    for (unsigned n = registers_at; n < end; ++n) image[n] = chance.byte();
    if (chance.one_in(2)) {
        for (unsigned n = 0; n < mxcsr_at; ++n) image[n] = chance.byte();
        const u32 mxcsr = u32(chance()) & mxcsr_mask();
        std::memcpy(image.data() + mxcsr_at, &mxcsr, sizeof mxcsr);
    }
    if (chance.one_in(2)) cpu.set_xsave_image(image.data(), image.size());
}

void random_registers(Chance& chance, Cpu& cpu) {
    for (unsigned n = 0; n < 16; ++n)
        cpu.gpr[n] = chance.pick({data_at + chance.below(0x4000), data_at + 0xff8 + chance.below(16),
                                  odd_at + chance.below(0x10000), chance.number(), chance.number()});
    if (!chance.one_in(4)) cpu.gpr[rsp] = stack_at - 8 * chance.below(64);
    cpu.rip = code_at + chance.below(chance.one_in(8) ? code_pages * page_bytes : 64);
    if (chance.one_in(8)) cpu.write_debug(unsigned(chance.below(4)), cpu.rip + chance.below(32));
    if (chance.one_in(8)) cpu.write_debug(7, chance());
    random_vectors(chance, cpu);
    cpu.state_changed();
}

void random_bits(Chance& chance, Cpu& cpu) {
    for (u64 n = chance.below(6); n > 0; --n) {
        Segment& s = cpu.seg[chance.below(cpu.seg.size())];
        switch (chance.below(11)) {
            case 0: cpu.cr0 = chance.one_in(2) ? chance() & cr0::known : cpu.cr0 ^ u64 { 1 } << chance.below(32); break;
            case 1: cpu.cr4 ^= u64{1} << chance.below(24); break;
            case 2: cpu.efer ^= chance.pick({efer::lme, efer::lma, efer::lme | efer::lma, efer::nxe}); break;
            case 3: s.base = chance.number(); break;
            case 4: s.limit = u32(chance.number()); break;
            case 5: s.rights = u32(chance() & 0x1f0ff); break;
            case 6: s.selector = u16(chance()); break;
            case 7: cpu.rflags = (chance() & rflags_settable) | flag::always; break;
            case 8: (chance.one_in(2) ? cpu.gdtr : cpu.idtr) = {chance.number(), u32(chance.below(0x10000))}; break;
            case 9: cpu.cr3 = chance.one_in(2) ? random_table(chance) : chance.number(); break;
            default: cpu.rip = chance.number(); break;
        }
    }
}

// The state in a line, with the bytes that come next.
std::string where(Cpu& cpu) {
    constexpr const char* names[] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    const auto u = [](u64 value) { return static_cast<unsigned long long>(value); };
    char text[400];
    std::snprintf(text, sizeof text,
                  "mode %#x, CPL %u, RIP %#llx, RFLAGS %#llx, CR0 %#llx, CR4 %#llx, EFER %#llx, exit kind %u", cpu.mode,
                  cpu.cpl, u(cpu.rip), u(cpu.rflags), u(cpu.cr0), u(cpu.cr4), u(cpu.efer), unsigned(cpu.exit.kind));
    std::string said = text;
    for (const Seg which : {Seg::Cs, Seg::Ss, Seg::Ds, Seg::Es, Seg::Fs, Seg::Gs}) {
        const Segment& s = cpu.at(which);
        std::snprintf(text, sizeof text, ", %s %#x base %#llx limit %#x rights %#x",
                      names[static_cast<unsigned>(which)], s.selector, u(s.base), s.limit, s.rights);
        said += text;
    }
    said += ", code";
    for (unsigned n = 0; n < 15; ++n) {
        u64 gpa = 0;
        if (!cpu.translate(cpu.at(Seg::Cs).base + cpu.rip + n, Access::Read, gpa) ||
            !cpu.memory().entry(gpa).can_read())
            break;
        std::snprintf(text, sizeof text, " %02x",
                      load_host<u8>(cpu.memory().entry(gpa).host() + (gpa & page_offset_mask)));
        said += text;
    }
    return said;
}

void run_once(Case& it, Cpu& cpu, const RunLimits& limits) {
    RunLimits within = limits;
    within.budget = std::min(limits.budget, it.budget);
    within.host_slice_ns = 2'000'000;  // a halted guest wakes by it
    const u64 before = cpu.instructions();
    const ExitKind kind = cpu.run(within).kind;
    const u64 done = cpu.instructions() - before;
    it.board.instructions += done, ++it.board.exits[static_cast<unsigned>(kind)];
    if (done > within.budget)
        fail(it, "a run of %llu instructions had a budget of %llu", static_cast<unsigned long long>(done),
             static_cast<unsigned long long>(within.budget));
    if (kind == ExitKind::BudgetSpent && done != within.budget)
        fail(it, "the budget of %llu was spent by %llu", static_cast<unsigned long long>(within.budget),
             static_cast<unsigned long long>(done));
    it.budget -= done;
    if (it.budget) return;
    std::snprintf(it.board.place, sizeof it.board.place, "%s", where(cpu).c_str());
}

bool go_on(Chance& chance, Cpu& cpu) {
    const ExitRecord& exit = cpu.exit;
    if (cpu.unanswered()) {
        const bool bytes = exit.kind == ExitKind::PortIn && exit.qualification >> 4 & 1;
        const bool msr = exit.kind == ExitKind::MsrRead || exit.kind == ExitKind::MsrWrite;
        if (msr && chance.one_in(3)) return cpu.refuse(), true;
        if (!bytes)
            return cpu.answer(exit.size_bytes && exit.size_bytes < 8 && !msr
                                  ? chance() & ((u64{1} << 8 * exit.size_bytes) - 1)
                                  : chance()),
                   true;
        std::vector<u8> items(size_t{exit.size_bytes} * (1 + chance.below(exit.count)));
        for (u8& item : items) item = chance.byte();
        return cpu.answer_bytes(items.data(), items.size()), true;
    }
    switch (exit.kind) {
        case ExitKind::Shutdown:
        case ExitKind::MmioFetch:
        case ExitKind::BadGuestState: return false;
        case ExitKind::None: return cpu.activity == 0;
        case ExitKind::Exception:
        case ExitKind::Unnamed: break;
        default:
            if (!cpu.raw()) return true;
    }
    if (chance.one_in(4)) return false;
    cpu.write_register(
        0, (cpu.rip + (exit.length_bytes ? exit.length_bytes : 1)) & cpu.code_mask());  // a client that goes over it
    return true;
}

}  // namespace silicon::fuzz
