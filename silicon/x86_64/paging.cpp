// Stage 1: from linear to guest-physical addresses. Intel SDM vol. 3, chapter "Paging".
#include <utility>

#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {
namespace {

namespace pte {
constexpr u64 present = 1 << 0, writable = 1 << 1, user = 1 << 2, accessed = 1 << 5, dirty = 1 << 6, large = 1 << 7, global = 1 << 8;
constexpr u64 no_execute = u64{1} << 63;
constexpr u64 frame = 0x000ffffffffff000;
constexpr u64 beyond_memory = frame & ~(GuestMemory::gpa_end - 1);
}  // namespace pte

namespace fault {
constexpr u32 present = 1, write = 2, user = 4, reserved = 8, fetch = 16;
}

// What one paging mode looks like. Levels count down to 1, the page table.
struct Shape {
    unsigned levels;
    unsigned index_bits;
    unsigned entry_bytes;

    bool is_pae() const { return levels == 3; }
    u64 frame_mask() const { return entry_bytes == 8 ? pte::frame : 0xfffff000; }
    unsigned shift(unsigned level) const { return page_shift + (level - 1) * index_bits; }
};

Shape shape_of(const CpuState& s) {
    if (s.efer & efer::lma) return {s.cr4 & cr4::la57 ? 5u : 4u, 9, 8};
    if (s.cr4 & cr4::pae) return {3, 9, 8};
    return {2, 10, 4};
}

// Where the entry for `at` lies.
u64 entry_gpa(const Shape& shape, unsigned level, u64 table, u64 at) {
    return table + (at >> shape.shift(level) & ((u64{1} << shape.index_bits) - 1)) * shape.entry_bytes;
}

// Whether the entry maps a page itself: 4 KiB, or a large one.
bool is_last(const CpuState& s, const Shape& shape, unsigned level, u64 entry) {
    const bool may_be_large = level == 2 ? shape.levels != 2 || s.cr4 & cr4::pse : level == 3;
    return level == 1 || (may_be_large && entry & pte::large);
}

// Bits that must be 0. Intel SDM vol. 3, "Paging Modes and Control Bits", the formats of the entries.
u64 reserved_bits(const Shape& shape, unsigned level, bool last, bool nx_on) {
    if (shape.entry_bytes == 4) return level == 2 && last ? u64{1} << 21 : 0;  // PSE-36 with 40 bits of address
    u64 reserved = pte::beyond_memory;
    if (shape.is_pae()) reserved |= u64{0x7ff} << 52;
    if (!nx_on) reserved |= pte::no_execute;
    if (level >= 4) reserved |= pte::large;
    if (level > 1 && last) reserved |= ((u64{1} << shape.shift(level)) - 1) & pte::frame & ~(u64{1} << 12);  // bit 12 is PAT
    return reserved;
}

constexpr u64 pdpte_reserved = pte::beyond_memory | u64{0xfff} << 52 | 0x1e6;

// The page that a last entry maps.
u64 frame_of(const Shape& shape, unsigned level, u64 entry) {
    const u64 inside = (u64{1} << shape.shift(level)) - 1;
    u64 frame = entry & shape.frame_mask() & ~inside;
    if (shape.entry_bytes == 4 && level == 2) frame |= (entry >> 13 & 0xff) << 32;  // PSE-36
    return frame;
}

u64 load_entry(const u8* host, unsigned bytes) { return bytes == 8 ? load_host<u64>(host) : load_host<u32>(host); }

}  // namespace

Cpu::Walk Cpu::walk(u64 at, Access access, Privilege as, bool quiet) {
    if (cr0 & cr0::pg) {
        for (;;) {
            const Walk w = walk_tables(at, access, as, quiet);
            if (!w.again) return w;
        }
    }
    Walk w;
    w.gpa = at;
    w.writable = w.executable = w.dirty = w.user = w.ok = true;
    return w;
}

// Whether the rights gathered on the way allow the access. Intel SDM vol. 3, "Determination of Access Rights".
bool Cpu::walk_allows(const Walk& w, Access access, Privilege as, bool quiet) const {
    const bool fetch = access == Access::Fetch, as_user = as == Privilege::User;
    if (as_user && !w.user) return false;
    if (fetch && !w.executable) return false;
    if (!as_user && w.user) {
        if (fetch && cr4 & cr4::smep) return false;
        const bool by_ac = as == Privilege::Supervisor && rflags & flag::ac;  // implicit accesses ignore AC
        if (!fetch && cr4 & cr4::smap && !by_ac && !quiet) return false;
    }
    return access != Access::Write || w.writable;
}

// Sets accessed and dirty bits in the entries on the way, from the root down, once nothing can fault any more. An entry that
// somebody changed meanwhile makes the walk start again.
bool Cpu::mark_entries(Walk& w, u64 at, bool write) {
    for (unsigned n = 0; n < w.steps; ++n) {
        Step& step = w.path[n];
        const bool last = n + 1 == w.steps;
        const u64 marks = pte::accessed | (last && write ? pte::dirty : 0);
        if ((step.entry & marks) == marks) continue;
        const PageEntry page = memory_->entry(step.place);
        if (!page.can_write()) {
            ept_violation(step.place, at, Access::Write, true);
            return false;
        }
        if (page.is_clean()) [[unlikely]] memory_->mark_written(step.place, step.bytes);
        u8* host = page.host() + (step.place & page_offset_mask);
        if (step.bytes == 8) {
            w.again = !swap_host<u64>(host, step.entry, step.entry | marks);
        } else {
            u32 entry = u32(step.entry);
            w.again = !swap_host<u32>(host, entry, entry | u32(marks));
        }
        if (w.again) return false;
        if (page.is_code()) memory_->code_written(step.place, step.bytes);
    }
    return true;
}

// One entry of a table. False: it lies where there is no memory.
bool Cpu::read_entry(u64 place, u64 at, unsigned bytes, bool quiet, u64& entry) {
    const PageEntry page = memory_->entry(place);
    if (!page.can_read() || on_apic_page(place)) [[unlikely]] {
        if (!quiet) ept_violation(place, at, Access::Read, true);
        return false;
    }
    entry = load_entry(page.host() + (place & page_offset_mask), bytes);
    return true;
}

Cpu::Walk Cpu::walk_tables(u64 at, Access access, Privilege as, bool quiet) {
    const Shape shape = shape_of(*this);
    const bool write = access == Access::Write;
    const bool nx_on = efer & efer::nxe && shape.entry_bytes == 8;
    u32 code = (write ? fault::write : 0) | (as == Privilege::User ? fault::user : 0);
    if (access == Access::Fetch && (nx_on || cr4 & cr4::smep)) code |= fault::fetch;
    const auto refuse = [&](u32 why) {
        if (!quiet) raise_page_fault(at, code | why);
        return Walk{};
    };

    Walk w;
    w.writable = w.user = w.executable = true;
    u64 table = cr3 & shape.frame_mask();
    unsigned level = shape.levels;
    if (shape.is_pae()) {  // the first level stands in registers
        const u64 pdpte = pdptes[at >> 30 & 3];
        if (!(pdpte & pte::present)) return refuse(0);
        if (pdpte & pdpte_reserved) return refuse(fault::present | fault::reserved);
        table = pdpte & pte::frame;
        --level;
    }
    for (;; --level) {
        Step& step = w.path[w.steps++];
        step.place = entry_gpa(shape, level, table, at);
        step.bytes = u8(shape.entry_bytes);
        if (!read_entry(step.place, at, shape.entry_bytes, quiet, step.entry)) return Walk{};
        const u64 entry = step.entry;
        if (!(entry & pte::present)) return refuse(0);
        const bool last = is_last(*this, shape, level, entry);
        if (entry & reserved_bits(shape, level, last, nx_on)) return refuse(fault::present | fault::reserved);
        w.writable &= (entry & pte::writable) != 0;
        w.user &= (entry & pte::user) != 0;
        w.executable &= !(nx_on && entry & pte::no_execute);
        if (last) break;
        table = entry & shape.frame_mask();
    }
    w.writable |= as != Privilege::User && !(cr0 & cr0::wp);
    if (!walk_allows(w, access, as, quiet)) return refuse(fault::present);
    if (!quiet && !mark_entries(w, at, write)) return w;
    const u64 entry = w.path[w.steps - 1].entry;
    w.size_shift = u8(shape.shift(level));
    w.gpa = frame_of(shape, level, entry) | (at & ((u64{1} << w.size_shift) - 1));
    w.dirty = write || entry & pte::dirty;
    w.global = entry & pte::global && cr4 & cr4::pge;
    w.ok = true;
    return w;
}

bool Cpu::translate(u64 linear, Access access, u64& gpa) {
    if (efer & efer::lma && !canonical(linear)) return false;
    settle_pdptes();
    const Walk w = walk(linear, access, Privilege::System, true);
    gpa = w.gpa;
    return w.ok;
}

// PAE paging without long mode keeps its first level in registers, read when CR3 is loaded and when paging comes to be so.
// Intel SDM vol. 3, "PDPTE Registers".
Outcome Cpu::load_pdptes(u64 from_cr3) {
    u64 loaded[4] = {0, 0, 0, 0};
    const u64 table = from_cr3 & 0xffffffe0;
    for (unsigned n = 0; n < 4; ++n) {
        if (!read_entry(table + 8 * n, 0, 8, false, loaded[n])) {
            if (exit.reason == Reason::EptViolation) exit.qualification &= ~(u64{3} << 7);  // no linear address belongs to it
            exit.gva = 0;
            return Outcome::Stop;
        }
        if (loaded[n] & pte::present && loaded[n] & pdpte_reserved) return raise(vector_gp, 0);
    }
    for (unsigned n = 0; n < 4; ++n) pdptes[n] = loaded[n];
    return Outcome::Next;
}

// As the next entry will find it: from memory where the host has set the paging registers.
u64 Cpu::pdpte(unsigned n) const {
    const u64 place = (cr3 & 0xffffffe0) + 8 * n;
    const PageEntry page = memory_->entry(place);
    if (!pdptes_stale_ || !has_pdptes(cr0, cr4) || !page.can_read()) return pdptes[n];
    return load_host<u64>(page.host() + (place & page_offset_mask));
}

void Cpu::settle_pdptes() {
    if (!pdptes_stale_) [[likely]] return;
    const u64 now[] = {pdpte(0), pdpte(1), pdpte(2), pdpte(3)};
    pdptes_stale_ = false;
    for (unsigned n = 0; n < 4; ++n) pdptes[n] = now[n];
}

// "Checks on Guest Page-Directory-Pointer-Table Entries".
bool Cpu::pdptes_valid() const {
    if (!has_pdptes(cr0, cr4)) return true;
    for (const u64 entry : pdptes)
        if (entry & pte::present && entry & pdpte_reserved) return false;
    return true;
}

}  // namespace silicon::x86
