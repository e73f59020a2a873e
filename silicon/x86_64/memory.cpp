// Guest accesses that the TLB could not serve: translation, page edges, devices, pages that hold code.
#include <utility>

#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/interrupt_unit.h"

namespace silicon::x86 {
namespace {

u64 load_bytes(const u8* host, unsigned size_bytes) {
    switch (size_bytes) {
        case 1: return load_host<u8>(host);
        case 2: return load_host<u16>(host);
        case 4: return load_host<u32>(host);
        case 8: return load_host<u64>(host);
        default: break;
    }
    u64 value = 0;
    for (unsigned n = 0; n < size_bytes; ++n) value |= u64{load_host<u8>(host + n)} << 8 * n;
    return value;
}

void store_bytes(u8* host, u64 value, unsigned size_bytes) {
    switch (size_bytes) {
        case 1: return store_host<u8>(host, u8(value));
        case 2: return store_host<u16>(host, u16(value));
        case 4: return store_host<u32>(host, u32(value));
        case 8: return store_host<u64>(host, value);
        default: break;
    }
    for (unsigned n = 0; n < size_bytes; ++n) store_host<u8>(host + n, u8(value >> 8 * n));
}

u64 low_bytes(u64 value, unsigned size_bytes) { return size_bytes >= 8 ? value : value & ((u64{1} << 8 * size_bytes) - 1); }

// How many of the bytes lie before the page edge.
unsigned before_edge(u64 at, unsigned size_bytes) {
    const u64 room = page_bytes - (at & page_offset_mask);
    return room < size_bytes ? unsigned(room) : size_bytes;
}

}  // namespace

// Translates one access within a page, raising what is to be raised. A page without the right is a device's. Of an access
// that goes on behind the page all `size_bytes` must be canonical: that comes before any page fault. `own`: the processor's,
// not the program's, and so with 64 bits of address in compatibility mode too.
Cpu::Translated Cpu::reach(u64 at, Access access, Privilege as, unsigned size_bytes, bool own) {
    constexpr u64 sampled = 64;
    if (++stats_.tlb_misses % sampled) [[likely]] return reach_untimed(at, access, as, size_bytes, own);
    const u64 began = Clock::host_ns();
    const Translated t = reach_untimed(at, access, as, size_bytes, own);
    stats_.miss_ns += sampled * (Clock::host_ns() - began);
    return t;
}

Cpu::Translated Cpu::reach_untimed(u64 at, Access access, Privilege as, unsigned size_bytes, bool own) {
    const bool wide = efer & efer::lma && (in_long64() || own);
    if (!wide) at = u32(at);
    if (wide && (!canonical(at) || !canonical(at + size_bytes - 1))) {
        raise(vector_gp, 0);
        fault_.not_canonical = true;
        return {};
    }
    const Walk w = walk(at, access, as, false);
    if (!w.ok) return {};
    PageEntry page = memory_->entry(w.gpa);
    Translated t;
    t.gpa = w.gpa;
    t.ok = true;
    if (!page.is_mapped() || on_apic_page(w.gpa) || on_unit_page(w.gpa)) [[unlikely]] return t;
    if (page.allows(access)) t.host = page.host() + (w.gpa & page_offset_mask);
    if (access == Access::Write && page.is_clean()) [[unlikely]] {
        if (t.host) memory_->mark_written(w.gpa, 1);
        page = memory_->entry(w.gpa);
    }
    if (as == by_cpl()) remember(at, access, t, w, page);
    return t;
}

// Into the TLB. Data that every access must be looked at (alignment checks, breakpoints) get no tag.
void Cpu::remember(u64 at, Access access, const Translated& t, const Walk& w, PageEntry page) {
    const bool fetch = access == Access::Fetch;
    if (!fetch && (checks_alignment() || watches_page(at))) return;
    const u64 tag = at & ~page_offset_mask;
    TlbEntry& e = tlb_table_->claim(at, reinterpret_cast<u64>(page.host()) - tag, w.size_shift, w.global);
    if (fetch) {
        if (t.host) e.fetch = tag;
    } else {
        if (page.can_read()) e.read = tag;
        if (w.dirty && w.writable && page.can_write() && !page.is_code() && !page.is_clean()) e.write = tag;
    }
}

// What an access makes that finds no memory: an EPT violation, or an APIC access.
Outcome Cpu::ept_violation(u64 gpa, u64 at, Access access, bool walking) {
    if (on_apic_page(gpa)) return apic_access(gpa, at, access, walking), Outcome::Stop;
    exit.clear();
    exit.kind = access == Access::Fetch && !walking ? ExitKind::MmioFetch : ExitKind::Unnamed;
    exit.reason = Reason::EptViolation;
    const u64 rights = memory_->entry(gpa).perm();
    exit.qualification = u64{1} << static_cast<unsigned>(access) | rights << 3 | 1 << 7 | u64(!walking) << 8 | u64(unblocked_nmi_) << 12;
    exit.gpa = gpa;
    exit.gva = at;
    return Outcome::Stop;
}

Slow Cpu::device_load(u64 gpa, u64 at, unsigned size_bytes) {
    if (on_unit_page(gpa)) return unit_->load(gpa, size_bytes);
    if (task_priority_access(gpa, size_bytes)) return {cr8 << 4, Outcome::Next};
    if (raw_) return {0, ept_violation(gpa, at, Access::Read, false)};
    if (const Piece* piece = pieces_.take(Piece::Kind::Load, gpa, size_bytes)) return {piece->value, Outcome::Next};
    if (posted_) return {0, Outcome::Stop};
    ept_violation(gpa, at, Access::Read, false);
    exit.kind = ExitKind::MmioLoad;
    exit.size_bytes = u8(size_bytes);
    unanswered_ = true;
    return {0, Outcome::Stop};
}

// Posted: the store is done when it is reported. Only one leaves per attempt; an instruction with a further one is left
// unfinished and comes again.
Outcome Cpu::device_store(u64 gpa, u64 at, u64 value, unsigned size_bytes) {
    if (on_unit_page(gpa)) return unit_->store(gpa, value, size_bytes);
    if (task_priority_access(gpa, size_bytes)) return set_task_priority(value >> 4 & 0xf);
    if (raw_) return ept_violation(gpa, at, Access::Write, false);
    value = low_bytes(value, size_bytes);
    if (pieces_.take(Piece::Kind::Store, gpa, size_bytes)) return Outcome::Next;
    if (posted_) return Outcome::Stop;
    ept_violation(gpa, at, Access::Write, false);
    exit.kind = ExitKind::MmioStore;
    exit.size_bytes = u8(size_bytes);
    exit.value = value;
    pieces_.push({Piece::Kind::Store, u8(size_bytes), false, gpa, value});
    pieces_.take(Piece::Kind::Store, gpa, size_bytes);
    posted_ = true;
    return Outcome::Leave;
}

Slow Cpu::load_part(const Translated& t, u64 at, unsigned size_bytes) {
    if (t.host) return {load_bytes(t.host, size_bytes), Outcome::Next};
    return device_load(t.gpa, at, size_bytes);
}

Outcome Cpu::store_part(const Translated& t, u64 at, u64 value, unsigned size_bytes) {
    if (!t.host) return device_store(t.gpa, at, value, size_bytes);
    store_bytes(t.host, value, size_bytes);
    if (memory_->entry(t.gpa).is_code() && memory_->code_written(t.gpa, size_bytes)) {
        ++stats_.code_writes;
        return Outcome::Leave;
    }
    return Outcome::Next;
}

Slow Cpu::slow_load(u64 at, unsigned size_bytes) {
    if (misaligned(at, size_bytes)) return {0, Outcome::Stop};
    const unsigned head = before_edge(at, size_bytes);
    const Translated first = reach(at, Access::Read, by_cpl(), size_bytes);
    if (!first.ok) return {0, Outcome::Stop};
    const bool crosses = head != size_bytes;
    const Translated second = crosses ? reach(at + head, Access::Read, by_cpl()) : first;
    if (!second.ok || (debug_.any_watches() && touch(at, size_bytes, false))) return {0, Outcome::Stop};
    if (!crosses) return load_part(first, at, size_bytes);
    const Slow low = load_part(first, at, head);
    if (low.outcome != Outcome::Next) return low;
    const Slow high = load_part(second, at + head, size_bytes - head);
    return {low.value | high.value << 8 * head, high.outcome};
}

// Next, Leave or Stop of two stores of one instruction: a posted first part with an open second one means again.
static Outcome both(Outcome first, Outcome second) { return first == Outcome::Leave && second == Outcome::Next ? first : second; }

Outcome Cpu::slow_store(u64 at, u64 value, unsigned size_bytes) {
    if (misaligned(at, size_bytes)) return Outcome::Stop;
    const unsigned head = before_edge(at, size_bytes);
    const Translated first = reach(at, Access::Write, by_cpl(), size_bytes);
    if (!first.ok) return Outcome::Stop;
    const bool crosses = head != size_bytes;
    const Translated second = crosses ? reach(at + head, Access::Write, by_cpl()) : first;
    if (!second.ok || (debug_.any_watches() && touch(at, size_bytes, true))) return Outcome::Stop;
    if (!crosses) return store_part(first, at, value, size_bytes);
    const Outcome low = store_part(first, at, value, head);
    if (low == Outcome::Stop) return low;
    return both(low, store_part(second, at + head, value >> 8 * head, size_bytes - head));
}

// Over a page edge both pages are translated before the first piece is asked for.
bool Cpu::slow_load_vec(u64 at) {
    if (misaligned(at, 16) || (before_edge(at, 16) != 16 && !probe_read(at, 16))) return false;
    const Slow low = slow_load(at, 8);
    if (low.outcome != Outcome::Next) return false;
    const Slow high = slow_load(at + 8, 8);
    wide_ = Vec{low.value, high.value};
    return high.outcome == Outcome::Next;
}

// Both halves are translated before the first is stored.
Outcome Cpu::slow_store_vec(u64 at, Vec value) {
    if (misaligned(at, 16) || !probe_write(at, 16)) return Outcome::Stop;
    const Outcome low = slow_store(at, value[0], 8);
    if (low == Outcome::Stop) return low;
    return both(low, slow_store(at + 8, value[1], 8));
}

// Loads what is there into the stage, unless the bytes lie in one page of plain memory after all.
u8* Cpu::slow_place(u64 at, unsigned size_bytes, bool locked) {
    if (misaligned(at, size_bytes)) return nullptr;
    const unsigned head = before_edge(at, size_bytes);
    const Translated first = reach(at, Access::Write, by_cpl(), size_bytes);
    if (!first.ok) return nullptr;
    Translated second = first;
    if (head != size_bytes) second = reach(at + head, Access::Write, by_cpl());
    if (!second.ok) return nullptr;
    if (debug_.any_watches() && (touch(at, size_bytes, false) || touch(at, size_bytes, true))) return nullptr;
    if (head == size_bytes && first.host) {
        const bool code = memory_->entry(first.gpa).is_code();
        if (locked && code) locked_gpa_ = first.gpa, locked_bytes_ = size_bytes;
        if (locked || !code) return first.host;
    }
    for (unsigned done = 0; done < size_bytes;) {
        const bool high = done >= head;
        const unsigned rest = (high ? size_bytes : head) - done, size = rest < 8 ? rest : 8;
        Translated part = high ? second : first;
        const u64 skip = high ? done - head : done;
        part.gpa += skip;
        if (part.host) part.host += skip;
        const PageEntry page = memory_->entry(part.gpa);  // without WRITE it is a device's to store to, not to load from
        if (!part.host && page.can_read()) part.host = page.host() + (part.gpa & page_offset_mask);
        const Slow slow = load_part(part, at + done, size);
        if (slow.outcome != Outcome::Next) return nullptr;
        for (unsigned n = 0; n < size; ++n) stage_[done + n] = u8(slow.value >> 8 * n);
        done += size;
    }
    stage_at_ = at;
    stage_bytes_ = size_bytes;
    return stage_;
}

u8* Cpu::slow_place_locked(u64 at, unsigned size_bytes) {
    if (before_edge(at, size_bytes) == size_bytes) return slow_place(at, size_bytes, true);
    exclusive_ = std::unique_lock(memory_->exclusive());
    u8* place = slow_place(at, size_bytes);
    if (!place) exclusive_.unlock();
    return place;
}

Outcome Cpu::look_at_locked() {
    if (!memory_->code_written(locked_gpa_, std::exchange(locked_bytes_, 0))) return Outcome::Next;
    ++stats_.code_writes;
    return Outcome::Leave;
}

Outcome Cpu::commit_stage() {
    const std::unique_lock<std::mutex> hold = std::move(exclusive_);  // let go of at the end, if it is held
    Outcome result = Outcome::Next;
    for (unsigned done = 0; done < stage_bytes_;) {
        const unsigned rest = stage_bytes_ - done, size = before_edge(stage_at_ + done, rest < 8 ? rest : 8);
        const Outcome out = slow_store(stage_at_ + done, load_bytes(stage_ + done, size), size);
        if (out == Outcome::Stop) return out;
        result = both(result, out);
        done += size;
    }
    return result;
}

u8* Cpu::direct(u64 at, u64 size_bytes, Access access) {
    if (before_edge(at, 1) == 0 || (at & page_offset_mask) + size_bytes > page_bytes) return nullptr;
    const TlbEntry& e = tlb[Tlb::index(at)];
    const u64 tag = access == Access::Write ? e.write : e.read;
    return tag == (at & ~page_offset_mask) ? reinterpret_cast<u8*>(at + e.addend) : nullptr;
}

bool Cpu::probe_write(u64 at, unsigned size_bytes) {
    const unsigned head = before_edge(at, size_bytes);
    return reach(at, Access::Write, by_cpl(), size_bytes).ok && (head == size_bytes || reach(at + head, Access::Write, by_cpl()).ok);
}

bool Cpu::probe_read(u64 at, unsigned size_bytes) {
    const unsigned head = before_edge(at, size_bytes);
    return reach(at, Access::Read, by_cpl(), size_bytes).ok && (head == size_bytes || reach(at + head, Access::Read, by_cpl()).ok);
}

Slow Cpu::system_access(u64 at, unsigned size_bytes, bool write, u64 value, Privilege as) {
    const Access access = write ? Access::Write : Access::Read;
    u64 loaded = 0;
    for (unsigned done = 0; done < size_bytes;) {
        const unsigned size = before_edge(at + done, size_bytes - done);
        const Translated t = reach(at + done, access, as, 1, true);
        if (!t.ok) return {0, Outcome::Stop};
        if (!t.host) {
            ept_violation(t.gpa, at + done, access, false);
            exit.kind = ExitKind::Unnamed;
            return {0, Outcome::Stop};
        }
        if (write)
            store_part(t, at + done, value >> 8 * done, size);
        else
            loaded |= load_bytes(t.host, size) << 8 * done;
        done += size;
    }
    return {loaded, Outcome::Next};
}

// Whether all of it could be accessed now, for what must not fault half-way; false: a fault, or an exit.
bool Cpu::system_reach(u64 at, unsigned size_bytes, Access access) {
    for (unsigned done = 0; done < size_bytes;) {
        const Translated t = reach(at + done, access, Privilege::System, 1, true);
        if (t.ok && !t.host) ept_violation(t.gpa, at + done, access, false);
        if (!t.host) return false;
        done += before_edge(at + done, size_bytes - done);
    }
    return true;
}

void Cpu::flush_tlb() {
    for (unsigned n = 0; n < static_cast<unsigned>(TlbContext::Count); ++n) tlbs_[n].flush();
    blocks_.forget_jumps();
}

void Cpu::flush_address_space() {
    for (unsigned n = 0; n < static_cast<unsigned>(TlbContext::Count); ++n) tlbs_[n].flush_but_global();
    blocks_.forget_jumps();
}

void Cpu::flush_page(u64 linear) {
    for (unsigned n = 0; n < static_cast<unsigned>(TlbContext::Count); ++n) tlbs_[n].flush_page(linear);
    blocks_.forget_jumps();
}

}  // namespace silicon::x86
