// Stage 1: from linear to guest-physical addresses. Intel SDM vol. 3, chapter "Paging".
#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {
namespace {

namespace pte {
constexpr u64 present = 1 << 0, writable = 1 << 1, user = 1 << 2, accessed = 1 << 5, dirty = 1 << 6, large = 1 << 7;
constexpr u64 no_execute = u64{1} << 63;
constexpr u64 frame = 0x000ffffffffff000;
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
    bool is_pdpte(unsigned level) const { return is_pae() && level == 3; }
};

Shape shape_of(const CpuState& s) {
    if (s.efer & efer::lma) return {s.cr4 & cr4::la57 ? 5u : 4u, 9, 8};
    if (s.cr4 & cr4::pae) return {3, 9, 8};
    return {2, 10, 4};
}

// Where the entry for `at` lies.
u64 entry_gpa(const Shape& shape, unsigned level, u64 table, u64 at) {
    const unsigned bits = shape.is_pdpte(level) ? 2 : shape.index_bits;
    return table + (at >> shape.shift(level) & ((u64{1} << bits) - 1)) * shape.entry_bytes;
}

// Whether the entry maps a page itself: 4 KiB, or a large one.
bool is_last(const CpuState& s, const Shape& shape, unsigned level, u64 entry) {
    const bool may_be_large = level == 2 ? shape.levels != 2 || s.cr4 & cr4::pse : level == 3 && !shape.is_pae();
    return level == 1 || (may_be_large && entry & pte::large);
}

// Bits that must be 0. Intel SDM vol. 3, "Paging Modes and Control Bits", the formats of the entries.
u64 reserved_bits(const Shape& shape, unsigned level, bool last, bool nx_on) {
    if (shape.entry_bytes == 4) return 0;
    u64 reserved = pte::frame & ~(GuestMemory::gpa_end - 1);
    if (!nx_on || shape.is_pdpte(level)) reserved |= pte::no_execute;
    if (shape.is_pdpte(level)) reserved |= pte::writable | pte::user;
    if (level >= 4) reserved |= pte::large;
    if (level > 1 && last) reserved |= ((u64{1} << shape.shift(level)) - 1) & pte::frame & ~(u64{1} << 12);  // bit 12 is PAT
    return reserved;
}

// The page that a last entry maps.
u64 frame_of(const Shape& shape, unsigned level, u64 entry) {
    const u64 inside = (u64{1} << shape.shift(level)) - 1;
    u64 frame = entry & shape.frame_mask() & ~inside;
    if (shape.entry_bytes == 4 && level == 2) frame |= (entry >> 13 & 0xff) << 32;  // PSE-36
    return frame;
}

}  // namespace

Cpu::Walk Cpu::walk(u64 at, Access access, bool supervisor, bool quiet) {
    ++stats_.page_walks;
    if (cr0 & cr0::pg) return walk_tables(at, access, supervisor, quiet);
    Walk w;
    w.gpa = at;
    w.writable = w.executable = w.dirty = w.user = w.ok = true;
    return w;
}

// Whether the rights gathered on the way allow the access. Intel SDM vol. 3, "Determination of Access Rights".
bool Cpu::walk_allows(const Walk& w, Access access, bool as_user, bool implicit, bool quiet) const {
    const bool fetch = access == Access::Fetch;
    if (as_user && !w.user) return false;
    if (fetch && !w.executable) return false;
    if (!as_user && w.user) {
        if (fetch && cr4 & cr4::smep) return false;
        const bool by_ac = !implicit && rflags & flag::ac;  // implicit supervisor accesses ignore AC
        if (!fetch && cr4 & cr4::smap && !by_ac && !quiet) return false;
    }
    return access != Access::Write || w.writable;
}

// Sets accessed and dirty bits in an entry that lacks them. False: the table lies where it cannot be written.
bool Cpu::mark_entry(u64 place, u64 at, u64 entry, u8 marks) {
    if ((entry & marks) == marks) return true;
    const PageEntry page = memory_.entry(place);
    if (!page.can_write()) {
        ept_violation(place, at, Access::Write, true);
        return false;
    }
    __atomic_fetch_or(page.host() + (place & page_offset_mask), marks, __ATOMIC_SEQ_CST);
    return true;
}

Cpu::Walk Cpu::walk_tables(u64 at, Access access, bool supervisor, bool quiet) {
    const Shape shape = shape_of(*this);
    const bool write = access == Access::Write, fetch = access == Access::Fetch;
    const bool as_user = cpl == 3 && !supervisor;
    const bool nx_on = efer & efer::nxe && shape.entry_bytes == 8;
    u32 code = (write ? fault::write : 0) | (as_user ? fault::user : 0);
    if (fetch && (nx_on || cr4 & cr4::smep)) code |= fault::fetch;
    const auto refuse = [&](u32 why) {
        if (!quiet) raise_page_fault(at, code | why);
        return Walk{};
    };

    Walk w;
    w.writable = w.user = w.executable = true;
    u64 table = cr3 & (shape.is_pae() ? 0xffffffe0 : shape.frame_mask());
    for (unsigned level = shape.levels;; --level) {
        const u64 place = entry_gpa(shape, level, table, at);
        const PageEntry page = memory_.entry(place);
        if (!page.can_read()) {
            if (!quiet) ept_violation(place, at, Access::Read, true);
            return Walk{};
        }
        const u8* host = page.host() + (place & page_offset_mask);
        const u64 entry = shape.entry_bytes == 8 ? load_host<u64>(host) : load_host<u32>(host);
        if (!(entry & pte::present)) return refuse(0);
        const bool last = is_last(*this, shape, level, entry);
        if (entry & reserved_bits(shape, level, last, nx_on)) return refuse(fault::present | fault::reserved);
        if (!shape.is_pdpte(level)) {
            w.writable &= (entry & pte::writable) != 0;
            w.user &= (entry & pte::user) != 0;
            w.executable &= !(nx_on && entry & pte::no_execute);
        }
        if (!last) {
            if (!quiet && !shape.is_pdpte(level) && !mark_entry(place, at, entry, pte::accessed)) return Walk{};
            table = entry & shape.frame_mask();
            continue;
        }
        w.writable |= !as_user && !(cr0 & cr0::wp);
        if (!walk_allows(w, access, as_user, supervisor, quiet)) return refuse(fault::present);
        if (!quiet && !mark_entry(place, at, entry, u8(pte::accessed | (write ? pte::dirty : 0)))) return Walk{};
        w.gpa = frame_of(shape, level, entry) | (at & ((u64{1} << shape.shift(level)) - 1));
        w.dirty = write || entry & pte::dirty;
        w.ok = true;
        return w;
    }
}

bool Cpu::translate(u64 linear, Access access, u64& gpa) {
    const Walk w = walk(linear, access, true, true);
    gpa = w.gpa;
    return w.ok;
}

}  // namespace silicon::x86
