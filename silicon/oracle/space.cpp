#include "silicon/oracle/space.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "silicon/oracle/fx_state.h"
#include "silicon/oracle/images.h"

namespace silicon::oracle {

using namespace x86;

namespace {

constexpr u64 present = 1, writable = 2, user = 4, accessed = 0x20, dirty = 0x40, no_execute = u64{1} << 63;
constexpr u32 user_code = 0xb | ar::s | 3 << ar::dpl_shift | ar::present | ar::g;
constexpr u32 user_data = 0x3 | ar::s | 3 << ar::dpl_shift | ar::present | ar::g | ar::db;
constexpr u8 hlt = 0xf4;

struct Descriptor {
    u16 selector;
    u64 value;
};
constexpr Descriptor descriptors[] = {{kernel_selector, 0x00af'9b00'0000'ffff},
                                      {0x20, 0x00cf'fb00'0000'ffff},
                                      {0x28, 0x00cf'f300'0000'ffff},
                                      {0x30, 0x00af'fb00'0000'ffff}};

}  // namespace

std::array<Segment, static_cast<size_t>(Seg::Count)> segments_of(unsigned bits) {
    const Segment data{0, ~u32{0}, user_data, 0x2b}, null{0, ~u32{0}, ar::unusable, 0};
    const Segment code16{code_at, 0xffff, user_code & ~ar::g, code16_selector};
    const Segment data16{data_at, 0xffff, user_data & ~(ar::g | ar::db), data16_selector};
    const Segment code32{0, ~u32{0}, user_code | ar::db, 0x23}, code64{0, ~u32{0}, user_code | ar::l, 0x33};
    std::array<Segment, static_cast<size_t>(Seg::Count)> all{};
    const auto at = [&](Seg which) -> Segment& { return all[static_cast<size_t>(which)]; };
    for (const Seg which : {Seg::Ds, Seg::Es}) at(which) = bits == 64 ? null : bits == 32 ? data : data16;
    for (const Seg which : {Seg::Fs, Seg::Gs, Seg::Ldtr}) at(which) = null;
    at(Seg::Ss) = bits == 16 ? data16 : data;
    at(Seg::Cs) = bits == 64 ? code64 : bits == 32 ? code32 : code16;
    at(Seg::Tr) = Segment{tss_at, tss_limit, 0xb | ar::present, 0x40};
    return all;
}

void Space::Free::operator()(u8* memory) const { std::free(memory); }

Space::Space() : memory_(static_cast<u8*>(std::aligned_alloc(page_bytes, own_bytes))) {
    if (!memory_) throw std::bad_alloc();
    std::memset(memory(), 0, own_bytes);
    build_tables();
    const u8 invalid[] = {0x0f, 0x0b};
    std::memcpy(memory() + end_gpa, invalid, sizeof invalid);
    std::memcpy(memory() + end_gpa + (end32_at - end_at), invalid, sizeof invalid);
    std::memset(memory() + handlers_gpa, hlt, page_bytes);
    const u64 stack_end = stack_at + page_bytes;
    std::memcpy(memory() + tss_gpa + 4, &stack_end, sizeof stack_end);  // RSP0
    memory()[tss_gpa + 0x66] = memory()[tss_gpa + 0x67] = 0xff;  // no I/O bitmap: every port is refused
    for (const Descriptor& d : descriptors) std::memcpy(memory() + tss_gpa + gdt_offset + d.selector, &d.value, 8);
}

// Four levels; every table is made when the first page below it is.
void Space::map_page(u64 linear, u64 gpa, u64 rights) {
    u64 table = tables_gpa;
    if (next_table_ == tables_gpa) next_table_ += page_bytes;
    for (unsigned shift = 39; shift > page_shift; shift -= 9) {
        u8* entry = memory() + table + (linear >> shift & 511) * 8;
        u64 value;
        std::memcpy(&value, entry, 8);
        if (!(value & present)) {
            value = next_table_ | present | writable | user | accessed;
            next_table_ += page_bytes;
            std::memcpy(entry, &value, 8);
        }
        table = value & ~page_offset_mask;
    }
    const u64 value = gpa | present | accessed | dirty | rights;
    std::memcpy(memory() + table + (linear >> page_shift & 511) * 8, &value, 8);
}

void Space::build_tables() {
    for (u64 at = 0; at < code_bytes; at += page_bytes) map_page(code_at + at, code_at + at, user);
    map_page(end_at, end_gpa, user);
    for (u64 n = 0; n < data_pages; ++n)
        if (n != absent_page)
            map_page(data_at + n * page_bytes, data_gpa + n * page_bytes,
                     user | no_execute | (is_writable_page(n) ? writable : 0));
    map_page(idt_at, idt_gpa, no_execute);
    map_page(tss_at, tss_gpa, no_execute | writable);
    map_page(handlers_at, handlers_gpa, 0);
    map_page(stack_at, stack_gpa, no_execute | writable);
}

void Space::set_pattern(const Pattern& pattern) {
    pattern_ = pattern;
    std::memcpy(memory() + data_gpa, pattern.data(), data_bytes);
}

void Space::patch(const Job& job) const {
    for (const Change& patch : job.patches)
        if (patch.address) std::memcpy(memory() + data_gpa + (patch.address - data_at), &patch.value, 8);
}

void Space::collect(const Job& job, Result& result) const {
    const auto page = [&](u64 n) { return data_page(n); };
    if (job.has_image) forget_open_fields(job.image, pattern_, host_keeps_pointers(), page);
    collect_changes(pattern_, page, result);
}

}  // namespace silicon::oracle
