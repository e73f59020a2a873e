// What lies in a guest's memory: code, descriptor and page tables, a task-state segment, stacks.
#include "silicon/fuzz/guest.h"

#include <algorithm>
#include <iterator>

namespace silicon::fuzz {
namespace {

using namespace x86;

constexpr u64 page_bits = 7;  // of an entry: present, writable, user

// Far transfers, segment loads, LLDT, LTR, POPF, SYSCALL and its kin, control and debug registers, descriptor tables,
// MSRs, HLT, ports, string instructions, saved x87 and vector state: what reaches far, in hexadecimal.
constexpr const char* system_code =
    "cd20 cc f1 ce cf 48cf cb ca0800 9d 9c 0f05 0f07 0f34 0f35 480f35 480f07 8ed0 8ed8 8ec3 8ee1 0fa1 17 1f "
    "0f22d8 0f22c0 0f22e0 0f20c0 0f20e0 440f22c0 0f30 0f32 0f31 0fa2 f4 fb fa 0f0b 0f01f8 0f23f8 0f23c0 0f21f0 "
    "0f0117 0f011f 0f0107 0f013b 0f01d0 0f01d1 0f01c1 0f01c8 0f01ca 0f01cb 0f06 0f08 0f09 0fc737 ff1f ff2b "
    "66ff1f 48ff2f f30faed0 0f02c0 0f03d9 660f388203 ec ee e580 f36c f36f f3a4 f348ab f2ae f3a6 63c0 6203 "
    "c810001f 0f00d0 0f00d8 0f0000 0f0020 ea003000000800 9a003000001800 0fae07 0fae0f 480fae07 0fae27 0fae2f "
    "480fae27 0fc727 0fae37 0fae3f 9bdbe3 dd37 dd27 d937 d927 0fae17 0fae1f 0f77 f30f6f07 0f2807 0f2907 660fe707 "
    "0fc707 480fc70f";

std::vector<std::vector<u8>> codes_of(const char* hex) {
    std::vector<std::vector<u8>> codes(1);
    for (; *hex; hex += *hex == ' ' ? 1 : 2) {
        if (*hex == ' ') codes.emplace_back();
        else codes.back().push_back(u8(std::stoul(std::string(hex, 2), nullptr, 16)));
    }
    return codes;
}

// One instruction's bytes, dense in what decodes: prefixes, one of the maps, ModRM, SIB, displacement, immediate.
size_t random_instruction(Chance& c, u8* out) {
    constexpr u8 prefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    size_t n = 0;
    while (n < 3 && c.one_in(4)) out[n++] = c.pick(prefixes);
    if (c.one_in(3)) out[n++] = u8(0x40 | c.below(16));
    u8 opcode = c.byte();
    switch (c.below(8)) {
        case 0:
        case 1:
        case 2: out[n++] = 0x0f; break;
        case 3: out[n++] = 0x0f, out[n++] = c.one_in(2) ? 0x38 : 0x3a; break;
        case 4:
            if (c.one_in(3)) out[n++] = 0xc4, out[n++] = u8(c.byte() & 0xe3), out[n++] = c.byte();
            break;
        case 5:
            if (c.one_in(2)) opcode = u8(0xd8 | c.below(8));  // x87
            break;
        default: break;
    }
    out[n++] = opcode;
    out[n++] = c.byte();  // ModRM
    const size_t rest = c.below(5);
    for (size_t k = 0; k < rest; ++k) out[n++] = c.one_in(2) ? 0 : c.byte();
    return n;
}

size_t system_instruction(Chance& c, u8* out) {
    static const std::vector<std::vector<u8>> codes = codes_of(system_code);
    const std::vector<u8>& code = codes[c.below(codes.size())];
    std::copy(code.begin(), code.end(), out);
    return code.size();
}

u64 random_descriptor(Chance& c) {
    constexpr u32 rights[] = {0x9a, 0x92, 0xfa, 0xf2, 0x89, 0x8b, 0x81, 0x8c, 0x84, 0x85,
                              0x8e, 0x8f, 0xee, 0xe5, 0xec, 0x82, 0x9e, 0x96, 0x98, 0x90};
    if (c.one_in(8)) return c();
    const u64 right = c.one_in(8) ? c.byte() : c.pick(rights),
              size = c.pick({u64{0xc}, u64{0xa}, u64{8}, u64{0}, u64{4}, c.below(16)});
    const u64 base = c.one_in(2) ? 0 : c.pick({u64{tss_at}, u64{ldt_at}, u64{code_at}, c.below(0x40000)});
    return 0xffff | (base & 0xffffff) << 16 | right << 40 | (c.one_in(4) ? c.below(16) : u64{0xf}) << 48 | size << 52 |
           base >> 24 << 56;
}

u64 random_gate(Chance& c) {
    constexpr u64 types[] = {0x8e, 0x8f, 0xee, 0xef, 0x86, 0x87, 0xe6, 0x85, 0xe5, 0x8c, 0xec, 0x84};
    if (c.one_in(24)) return c();
    const u64 selector = c.pick({u64{8}, u64{8}, u64{8}, u64{0x18}, u64{0x2b}, c.below(64) * 8}),
              to = code_at + c.below(code_pages * page_bytes);
    return (to & 0xffff) | selector << 16 | (c.one_in(6) ? c.below(8) : 0) << 32 |
           (c.one_in(3) ? c.pick(types) : u64{0x8e}) << 40 | to >> 16 << 48;
}

// An entry of a page table as guests have them, now and then with something wrong.
u64 entry(Chance& c, u64 to, bool noisy) {
    u64 bits = to | page_bits | (c.one_in(2) ? 0x60 : 0);
    if (!noisy) return bits;
    for (u64 n = c.below(4); n > 0; --n)
        bits ^=
            u64{1} << c.pick({u64{0}, u64{1}, u64{2}, u64{5}, u64{6}, u64{7}, u64{8}, u64{12}, u64{63}, c.below(64)});
    return c.one_in(12) ? c() : bits;
}

}  // namespace

u64 random_table(Chance& c) { return tables_at + c.below(table_pages) * page_bytes; }

std::vector<GuestPage> random_pages(Chance& chance) {
    std::vector<GuestPage> pages;
    for (u64 gpa = 0; gpa < ram_bytes; gpa += page_bytes)
        pages.push_back({gpa, gpa < odd_at ? u8(perm_all) : u8(chance.below(8))});
    if (chance.one_in(4))
        for (const u64 gpa : {u64{0xfffff000}, u64{0x100000000}, u64{0xfee00000}, GuestMemory::gpa_end - page_bytes})
            pages.push_back({gpa, perm_all});
    return pages;
}

void fill_code(Chance& chance, World& world) {
    u8 code[code_pages * page_bytes + 64];
    const unsigned sort = unsigned(chance.below(4));
    for (size_t n = 0; n < code_pages * page_bytes;) {
        if (sort == 0) code[n++] = chance.byte();
        else if (sort == 1 || chance.one_in(5)) n += system_instruction(chance, code + n);
        else n += random_instruction(chance, code + n);
    }
    if (sort == 3)
        for (unsigned k = 0; k < 600; ++k) code[chance.below(code_pages * page_bytes)] ^= u8(1 << chance.below(8));
    world.write(code_at, code, code_pages * page_bytes);
    for (u64 at = data_at; at < data_at + 0x4000; at += 8) world.write64(at, chance.one_in(2) ? chance.number() : 0);
}

void fill_tables(Chance& chance, World& world) {
    constexpr u64 usual[] = {0,
                             0x00af9b000000ffff,
                             0x00cf93000000ffff,
                             0x00cffb000000ffff,
                             0x00cff3000000ffff,
                             0x00cf9b000000ffff,
                             0x00008b00c0000fff};
    for (unsigned n = 0; n < 256; ++n)
        world.write64(gdt_at + 8 * n,
                      n < std::size(usual) && !chance.one_in(16) ? usual[n] : random_descriptor(chance));
    for (unsigned n = 0; n < 64; ++n) world.write64(ldt_at + 8 * n, random_descriptor(chance));
    const bool wide = chance.one_in(2);
    for (unsigned n = 0; n < 256; ++n) {
        world.write64(idt_at + (wide ? 16 : 8) * n, random_gate(chance));
        if (wide) world.write64(idt_at + 16 * n + 8, chance.one_in(64) ? chance.number() : 0);
    }
    for (unsigned n = 0; n < 128; ++n) {
        const u32 word =
            u32(chance.pick({u64{stack_at}, stack_at - 0x800, u64{0x10}, u64{0x20}, data_at + 0x800, chance.number()}));
        world.write(tss_at + 4 * n, &word, 4);
    }
    for (u64 at = stack_at - 0x400; at < stack_at; at += 8)
        world.write64(at,
                      chance.pick({u64{0}, u64{8}, u64{0x10}, u64{0x1b}, u64{0x202}, u64{code_at}, chance.number()}));
}

// The first 2 MiB identity-mapped by 4 KiB pages, what is above by large pages and by tables of all kinds.
void fill_page_tables(Chance& chance, World& world, Mode mode) {
    const unsigned noise = chance.one_in(2) ? 64 : 6;  // one entry in so many is odd
    const auto odd = [&] { return chance.one_in(noise); };
    const u64 top = tables_at;
    if (mode == Mode::Paged32) {
        const auto put = [&](u64 at, u64 bits) { world.write(at, &bits, 4); };
        for (unsigned n = 0; n < 1024; ++n) put(top + 0x1000 + 4 * n, entry(chance, u64{n} * page_bytes, odd()));
        put(top, entry(chance, top + 0x1000, false));
        for (unsigned n = 1; n < 1024; n += unsigned(1 + chance.below(96)))
            put(top + 4 * n, chance.one_in(2) ? entry(chance, (chance.below(4) << 22) | 0x80, odd())
                                              : entry(chance, random_table(chance), odd()));
        return;
    }
    const u64 pt = top + 0x1000, pd = top + 0x2000, pdpt = mode == Mode::Pae ? top : top + 0x3000,
              pml4 = mode == Mode::Long5 ? top + 0x4000 : top;
    for (unsigned n = 0; n < 512; ++n) world.write64(pt + 8 * n, entry(chance, u64{n} * page_bytes, odd()));
    const auto fill = [&](u64 table, u64 first, unsigned entries) {
        for (unsigned n = 1; n < entries; n += unsigned(1 + chance.below(entries / 8 + 1)))
            world.write64(table + 8 * n, chance.one_in(2) ? entry(chance, chance.below(4) << 21 | 0x80, odd())
                                                          : entry(chance, random_table(chance), odd()));
        world.write64(table, first);
    };
    fill(pd, entry(chance, pt, false), 512);
    if (mode == Mode::Pae) {
        for (unsigned n = 0; n < 4; ++n)
            world.write64(pdpt + 8 * n, n && chance.one_in(3) ? chance.number() : (pd | 1));
        return;
    }
    fill(pdpt, entry(chance, pd, false), 512);
    fill(pml4, entry(chance, pdpt, false), 512);
    if (mode == Mode::Long5) fill(top, entry(chance, pml4, false), 512);
}

}  // namespace silicon::fuzz
