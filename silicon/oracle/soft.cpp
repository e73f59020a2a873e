#include "silicon/oracle/soft.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "silicon/oracle/fx_state.h"
#include "silicon/oracle/images.h"

namespace silicon::oracle {

using namespace x86;

namespace {

// In `memory_`, and at these guest-physical addresses: page tables, descriptor tables, then what programs see.
constexpr u64 tables = 0x1000, idt_page = 0xb000, tss_page = 0xc000, end_page = 0xd000, data_page = 0xe000;
constexpr u64 own_bytes = data_page + data_bytes;
constexpr u64 idt_at = 0xffff'8000'0000'0000;  // where no program's page is
constexpr u64 tss_at = idt_at + page_bytes;
constexpr u64 present = 1, writable = 2, user = 4, accessed = 0x20, dirty = 0x40, no_execute = u64{1} << 63;

constexpr u32 user_code = 0xb | ar::s | 3 << ar::dpl_shift | ar::present | ar::g;
// Of the selectors 0x23, 0x2b and 0x33.
constexpr u64 descriptors[] = {0x00cf'fb00'0000'ffff, 0x00cf'f300'0000'ffff, 0x00af'fb00'0000'ffff};
constexpr u64 gdt_offset = 0x100;

constexpr u32 user_data = 0x3 | ar::s | 3 << ar::dpl_shift | ar::present | ar::g | ar::db;

}  // namespace

void Soft::Free::operator()(u8* memory) const { std::free(memory); }

Soft::Soft(u8* code) : memory_(static_cast<u8*>(std::aligned_alloc(page_bytes, own_bytes))), next_table_(tables) {
    if (!memory_) throw std::bad_alloc();
    std::memset(memory_.get(), 0, own_bytes);
    guest_.map(0, memory_.get(), own_bytes, perm_all);
    guest_.map(code_at, code, code_bytes, perm_all);
    build_tables();
    const u8 invalid[] = {0x0f, 0x0b};
    std::memcpy(memory_.get() + end_page, invalid, sizeof invalid);
    std::memcpy(memory_.get() + end_page + (end32_at - end_at), invalid, sizeof invalid);
    cpu_ = std::make_unique<Cpu>(guest_, clock_, 0, false);
    cpu_->vmcs.exception_bitmap = ~u32{0};
}

// Four levels; every table is made when the first page below it is.
void Soft::map_page(u64 linear, u64 gpa, u64 rights) {
    u64 table = tables;
    if (next_table_ == tables) next_table_ += page_bytes;
    for (unsigned shift = 39; shift > page_shift; shift -= 9) {
        u8* entry = memory_.get() + table + (linear >> shift & 511) * 8;
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
    std::memcpy(memory_.get() + table + (linear >> page_shift & 511) * 8, &value, 8);
}

void Soft::build_tables() {
    for (u64 at = 0; at < code_bytes; at += page_bytes) map_page(code_at + at, code_at + at, user);
    map_page(end_at, end_page, user);
    for (u64 n = 0; n < data_pages; ++n)
        if (n != absent_page)
            map_page(data_at + n * page_bytes, data_page + n * page_bytes,
                     user | no_execute | (is_writable_page(n) ? writable : 0));
    map_page(idt_at, idt_page, no_execute);
    map_page(tss_at, tss_page, no_execute);
    memory_.get()[tss_page + 0x66] = memory_.get()[tss_page + 0x67] = 0xff;  // no I/O bitmap: every port is refused
    std::memcpy(memory_.get() + tss_page + gdt_offset + 0x20, descriptors, sizeof descriptors);
}

void Soft::set_pattern(const Pattern& pattern) {
    pattern_ = pattern;
    std::memcpy(memory_.get() + data_page, pattern.data(), data_bytes);
}

// The selectors and rights that Linux gives a process. In 64-bit code DS and ES are null.
void Soft::set_segments(unsigned bits) {
    const Segment data{0, ~u32{0}, user_data, 0x2b}, null{0, ~u32{0}, ar::unusable, 0};
    const Segment code16{code_at, 0xffff, user_code & ~ar::g, code16_selector};
    const Segment data16{data_at, 0xffff, user_data & ~(ar::g | ar::db), data16_selector};
    const Segment code32{0, ~u32{0}, user_code | ar::db, 0x23}, code64{0, ~u32{0}, user_code | ar::l, 0x33};
    for (const Seg which : {Seg::Ds, Seg::Es}) cpu_->at(which) = bits == 64 ? null : bits == 32 ? data : data16;
    for (const Seg which : {Seg::Fs, Seg::Gs, Seg::Ldtr}) cpu_->at(which) = null;
    cpu_->at(Seg::Ss) = bits == 16 ? data16 : data;
    cpu_->at(Seg::Cs) = bits == 64 ? code64 : bits == 32 ? code32 : code16;
    cpu_->at(Seg::Tr) = Segment{tss_at, 0x67, 0xb | ar::present, 0x40};
}

void Soft::set_state(const Job& job) {
    Cpu& cpu = *cpu_;
    std::memcpy(cpu.gpr, job.before.gpr, sizeof job.before.gpr);
    cpu.rip = job.before.rip - code_base(job.bits);
    cpu.rflags = job.before.rflags;
    cpu.set_fx_image(job.before.fx);
    cpu.cr0 = cr0::pe | cr0::mp | cr0::et | cr0::ne | cr0::wp | cr0::am | cr0::pg;
    cpu.cr3 = tables;
    cpu.cr4 = cr4::pae | cr4::osfxsr | cr4::osxmmexcpt | cr4::osxsave;
    cpu.xcr0 = xcr0_known;
    cpu.efer = efer::sce | efer::lme | efer::lma | efer::nxe;
    cpu.cr2 = 0;
    cpu.idtr = {idt_at, 0xfff};  // all gates absent: INT n is #GP
    cpu.gdtr = {tss_at + gdt_offset, 0x7f};
    cpu.cpl = 3;
    cpu.interruptibility = 0;
    cpu.activity = 0;
    set_segments(job.bits);
    cpu.state_changed();
    cpu.abandon();
}

void Soft::read_ending(const Job& job, const ExitRecord& exit, Result& result) {
    const u64 end = end_for(job.bits);
    switch (exit.kind) {
        case ExitKind::Exception:
            result.ending = exit.interruption_info & 0xff;
            result.error = exit.interruption_info >> 11 & 1 ? exit.interruption_error : 0;
            if (result.ending == vector_pf) result.address = exit.qualification;
            if (result.ending == vector_ud && cpu_->rip == end) result.ending = ended;
            break;
        case ExitKind::BudgetSpent: result.ending = timed_out; break;
        default:
            result.ending = unexpected;
            result.error = static_cast<u32>(exit.kind);
            break;
    }
}

void Soft::prepare(const Job& job) {
    for (const Change& patch : job.patches)
        if (patch.address) std::memcpy(memory_.get() + data_page + (patch.address - data_at), &patch.value, 8);
    set_state(job);
}

u64 Soft::linear_rip() const { return cpu_->rip + cpu_->at(Seg::Cs).base; }

bool Soft::strays(const Job& job, const std::function<bool(u64)>& is_own) {
    prepare(job);
    bool outside = false;
    for (u64 n = 0; n < budget && !outside; ++n) {
        if (cpu_->run({.budget = 1}).kind != ExitKind::BudgetSpent) break;
        const u64 at = linear_rip();
        outside = at != end_for(job.bits) && !is_own(at);
    }
    set_pattern(Pattern(pattern_));
    return outside;
}

void Soft::run(const Job& job, Result& result) {
    u8* data = memory_.get() + data_page;
    prepare(job);
    result.error = 0;
    result.address = 0;
    const ExitRecord& exit = cpu_->run({.budget = budget});
    read_ending(job, exit, result);
    std::memcpy(result.after.gpr, cpu_->gpr, sizeof result.after.gpr);
    result.after.rip = linear_rip();
    result.after.rflags = cpu_->rflags;
    result.after.fx = cpu_->fx_image();
    const auto page = [&](u64 n) { return data + n * page_bytes; };
    if (job.has_image) forget_open_fields(job.image, pattern_, host_keeps_pointers(), page);
    collect_changes(pattern_, page, result);
}

}  // namespace silicon::oracle
