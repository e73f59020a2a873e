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
};

Shape shape_of(const CpuState& s) {
    if (s.efer & efer::lma) return {s.cr4 & cr4::la57 ? 5u : 4u, 9, 8};
    if (s.cr4 & cr4::pae) return {3, 9, 8};
    return {2, 10, 4};
}

}  // namespace

Cpu::Walk Cpu::walk(u64 at, Access access, bool supervisor, bool quiet) {
    if (cr0 & cr0::pg) return walk_tables(at, access, supervisor, quiet);
    Walk w;
    w.gpa = at;
    w.writable = w.executable = w.dirty = w.user = w.ok = true;
    return w;
}

Cpu::Walk Cpu::walk_tables(u64 at, Access access, bool supervisor, bool quiet) {
    const Shape shape = shape_of(*this);
    const bool write = access == Access::Write, fetch = access == Access::Fetch;
    const bool as_user = cpl == 3 && !supervisor;
    const bool nx_on = (efer & efer::nxe) && shape.entry_bytes == 8;
    u32 code = (write ? fault::write : 0) | (as_user ? fault::user : 0);
    if (fetch && (nx_on || cr4 & cr4::smep)) code |= fault::fetch;
    const auto refuse = [&](u32 why) {
        if (!quiet) raise_page_fault(at, code | why);
        return Walk{};
    };

    u64 table = cr3 & (shape.levels == 3 ? 0xffffffe0 : shape.levels == 2 ? 0xfffff000 : pte::frame);
    bool writable = true, user = true, executable = true;
    for (unsigned level = shape.levels;; --level) {
        const unsigned shift = page_shift + (level - 1) * shape.index_bits;
        const unsigned bits = shape.levels == 3 && level == 3 ? 2 : shape.index_bits;
        const u64 place = table + (at >> shift & ((u64{1} << bits) - 1)) * shape.entry_bytes;
        const PageEntry page = memory_.entry(place);
        if (!page.can_read()) {
            if (!quiet) ept_violation(place, at, Access::Read, true);
            return Walk{};
        }
        u8* host = page.host() + (place & page_offset_mask);
        const u64 entry = shape.entry_bytes == 8 ? load_host<u64>(host) : load_host<u32>(host);
        if (!(entry & pte::present)) return refuse(0);
        const bool pdpte = shape.levels == 3 && level == 3;
        const bool can_be_large = level == 2 ? (shape.levels != 2 || cr4 & cr4::pse) : level == 3 && !pdpte;
        const bool last = level == 1 || (can_be_large && entry & pte::large);
        u64 reserved = 0;
        if (shape.entry_bytes == 8) {
            reserved = pte::frame & ~(GuestMemory::gpa_end - 1);
            if (!nx_on) reserved |= pte::no_execute;
            if (level > 1 && !can_be_large && !pdpte) reserved |= level >= 4 || level == 3 ? pte::large : 0;
            if (level > 1 && last) reserved |= ((u64{1} << shift) - 1) & pte::frame & ~(u64{1} << 12);
        }
        if (entry & reserved) return refuse(fault::present | fault::reserved);
        if (!pdpte) {
            writable &= (entry & pte::writable) != 0;
            user &= (entry & pte::user) != 0;
            if (nx_on) executable &= !(entry & pte::no_execute);
        }
        if (!last) {
            if (!quiet && !pdpte && !(entry & pte::accessed)) {
                if (!page.can_write()) {
                    ept_violation(place, at, Access::Write, true);
                    return Walk{};
                }
                __atomic_fetch_or(host, u8{pte::accessed}, __ATOMIC_SEQ_CST);
            }
            table = entry & (shape.entry_bytes == 8 ? pte::frame : 0xfffff000);
            continue;
        }
        // The rights of the whole walk. Intel SDM vol. 3, "Determination of Access Rights".
        const bool may_write = writable || (!as_user && !(cr0 & cr0::wp));
        if (as_user && !user) return refuse(fault::present);
        if (fetch && !executable) return refuse(fault::present);
        if (!as_user && user) {
            if (fetch && cr4 & cr4::smep) return refuse(fault::present);
            const bool by_ac = !supervisor && rflags & flag::ac;  // implicit supervisor accesses ignore AC
            if (!fetch && cr4 & cr4::smap && !by_ac && !quiet) return refuse(fault::present);
        }
        if (write && !may_write) return refuse(fault::present);
        const u8 marks = u8(pte::accessed | (write ? pte::dirty : 0));
        if (!quiet && (entry & marks) != marks) {
            if (!page.can_write()) {
                ept_violation(place, at, Access::Write, true);
                return Walk{};
            }
            __atomic_fetch_or(host, marks, __ATOMIC_SEQ_CST);
        }
        const u64 inside = (u64{1} << shift) - 1;
        u64 frame = entry & (shape.entry_bytes == 8 ? pte::frame : 0xfffff000) & ~inside;
        if (shape.entry_bytes == 4 && level == 2) frame |= (entry >> 13 & 0xff) << 32;  // PSE-36
        Walk w;
        w.gpa = frame | (at & inside);
        w.writable = may_write;
        w.executable = executable;
        w.user = user;
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
