// String instructions, one iteration at a time or whole page runs at once. Rows: spec/x86_64/string.toml.
//
// Each iteration commits: a fault, an exit or a request between two finds the registers where they are. What is moved
// in bulk is only what the TLB already knows to be plain memory within one page on either side.
#include <algorithm>
#include <cstring>

#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

constexpr u32 form_string = 1 << 4, form_rep = 1 << 5;

u64 address_mask(const Insn& in) { return in.address_bytes == 8 ? ~u64{0} : in.address_bytes == 4 ? 0xffffffff : 0xffff; }

u64 register_of(const Cpu& cpu, const Insn& in, Gpr which) { return cpu.gpr[which] & address_mask(in); }

void set_register(Cpu& cpu, const Insn& in, Gpr which, u64 value) {
    if (in.address_bytes == 8)
        cpu.gpr[which] = value;
    else if (in.address_bytes == 4)
        cpu.gpr[which] = u32(value);
    else
        cpu.set_gpr<u16>(which, u16(value));
}

template <class T>
void advance(Cpu& cpu, const Insn& in, Gpr which, u64 items) {
    const u64 bytes = items * sizeof(T);
    set_register(cpu, in, which, cpu.gpr[which] + (cpu.rflags & flag::df ? -bytes : bytes));
}

template <class T>
Linear source(Cpu& cpu, const Insn& in) {
    return cpu.segment_linear(in.seg, register_of(cpu, in, rsi), sizeof(T), Access::Read);
}
template <class T>
Linear destination(Cpu& cpu, const Insn& in, Access access) {
    return cpu.segment_linear(Seg::Es, register_of(cpu, in, rdi), sizeof(T), access);
}

// The second operand is outside its segment; but faults of the first one, which is read before, come first.
template <class T>
Outcome second_refused(Cpu& cpu, u64 first) {
    if (!cpu.misaligned(first, sizeof(T))) (void)cpu.probe_read(first, sizeof(T));
    return Outcome::Stop;
}

// How many items from here on lie in one page and do not wrap the address, going up.
template <class T>
u64 items_in_page(const Cpu& cpu, const Insn& in, Gpr which, u64 linear) {
    const u64 in_page = (page_bytes - (linear & page_offset_mask)) / sizeof(T);
    const u64 before_wrap = in.address_bytes == 8 ? in_page : (address_mask(in) - register_of(cpu, in, which)) / sizeof(T);
    return std::min(in_page, before_wrap);
}

// What a bulk step may do now: going up, within the budget.
template <class T>
u64 bulk_items(Cpu& cpu, u64 count) {
    if (cpu.rflags & (flag::df | flag::tf)) return 0;
    return std::min(count, cpu.spare_iterations());
}

// Whether the whole run is inside the segment too: the checks of its last item are those of all.
template <class T>
u8* bulk_pointer(Cpu& cpu, const Insn& in, Seg seg, Gpr which, Access access, u64& items) {
    const u64 offset = register_of(cpu, in, which);
    const Linear first = cpu.segment_linear_quiet(seg, offset, sizeof(T), access);
    if (!first.ok) return nullptr;
    items = std::min(items, items_in_page<T>(cpu, in, which, first.value));
    if (items < 2) return nullptr;
    if (!cpu.segment_linear_quiet(seg, offset + (items - 1) * sizeof(T), sizeof(T), access).ok) return nullptr;
    return cpu.direct(first.value, items * sizeof(T), access);
}

// The frame of REP: `once` does one iteration, `many` up to `n` at once and says how many it did (0: it cannot). `more` says
// after an iteration whether the condition of REPE or REPNE still holds.
template <Rep K, class T, class Once, class Many, class More>
SILICON_INLINE Outcome repeat(Cpu& cpu, const Insn& in, Once once, Many many, More more) {
    if constexpr (K == Rep::None) return once();
    u64 count = register_of(cpu, in, rcx);
    if (count == 0) return Outcome::Next;
    for (bool first = true;; first = false) {
        if (!first && !cpu.another_iteration()) return Outcome::Again;
        if (const u64 n = bulk_items<T>(cpu, count); n > 1) {
            const u64 done = many(n);
            if (done) {
                cpu.remaining -= i32(done) - 1;
                set_register(cpu, in, rcx, count -= done);
                if (count == 0 || !more()) return Outcome::Next;
                continue;
            }
        }
        const Outcome out = once();
        if (out == Outcome::Stop) return out;
        set_register(cpu, in, rcx, --count);
        if (count == 0 || !more()) return out;
        if (out != Outcome::Next) return Outcome::Again;
        cpu.commit_iteration();
    }
}

constexpr auto always = [] { return true; };

// Forward copying by items, as the loop would: where the destination lies a little behind the source, it repeats a pattern.
template <class T>
void copy_forward(u8* to, const u8* from, u64 items) {
    const u64 bytes = items * sizeof(T);
    if (u64(to - from) >= bytes) {
        std::memmove(to, from, bytes);
    } else {
        for (u64 n = 0; n < items; ++n) store_host<T>(to + n * sizeof(T), load_host<T>(from + n * sizeof(T)));
    }
}

template <class T, Rep K>
Outcome move_string(Cpu& cpu, const Insn& in) {
    const auto once = [&] {
        const Linear from = source<T>(cpu, in);
        if (!from.ok) return Outcome::Stop;
        const Linear to = destination<T>(cpu, in, Access::Write);
        if (!to.ok) return second_refused<T>(cpu, from.value);
        const auto v = cpu.load<T>(from.value);
        if (!v.ok) return Outcome::Stop;
        const Outcome out = cpu.store<T>(to.value, v.value);
        if (out == Outcome::Stop) return out;
        advance<T>(cpu, in, rsi, 1);
        advance<T>(cpu, in, rdi, 1);
        return out;
    };
    const auto many = [&](u64 n) -> u64 {
        const u8* from = bulk_pointer<T>(cpu, in, in.seg, rsi, Access::Read, n);
        u8* to = from ? bulk_pointer<T>(cpu, in, Seg::Es, rdi, Access::Write, n) : nullptr;
        if (!to) return 0;
        copy_forward<T>(to, from, n);
        advance<T>(cpu, in, rsi, n);
        advance<T>(cpu, in, rdi, n);
        return n;
    };
    return repeat<K, T>(cpu, in, once, many, always);
}

template <class T, Rep K>
Outcome store_string(Cpu& cpu, const Insn& in) {
    const T value = T(cpu.gpr[rax]);
    const auto once = [&] {
        const Linear to = destination<T>(cpu, in, Access::Write);
        if (!to.ok) return Outcome::Stop;
        const Outcome out = cpu.store<T>(to.value, value);
        if (out != Outcome::Stop) advance<T>(cpu, in, rdi, 1);
        return out;
    };
    const auto many = [&](u64 n) -> u64 {
        u8* to = bulk_pointer<T>(cpu, in, Seg::Es, rdi, Access::Write, n);
        if (!to) return 0;
        using Item = typename Unaligned<T>::type;  // as a template's argument it would lose that
        Item* const items = reinterpret_cast<Item*>(to);
        for (u64 k = 0; k < n; ++k) items[k] = value;
        advance<T>(cpu, in, rdi, n);
        return n;
    };
    return repeat<K, T>(cpu, in, once, many, always);
}

template <class T, Rep K>
Outcome load_string(Cpu& cpu, const Insn& in) {
    const auto once = [&] {
        const Linear from = source<T>(cpu, in);
        if (!from.ok) return Outcome::Stop;
        const auto v = cpu.load<T>(from.value);
        if (!v.ok) return Outcome::Stop;
        cpu.set_gpr<T>(rax, v.value);
        advance<T>(cpu, in, rsi, 1);
        return Outcome::Next;
    };
    const auto many = [&](u64 n) -> u64 {  // only the last one stays
        const u8* from = bulk_pointer<T>(cpu, in, in.seg, rsi, Access::Read, n);
        if (!from) return 0;
        cpu.set_gpr<T>(rax, load_host<T>(from + (n - 1) * sizeof(T)));
        advance<T>(cpu, in, rsi, n);
        return n;
    };
    return repeat<K, T>(cpu, in, once, many, always);
}

// Whether a comparison with this result ends REPE or REPNE.
template <Rep K>
bool ends_scan(bool equal) {
    return K == Rep::Equal ? !equal : equal;
}

template <class T, Rep K>
Outcome scan_string(Cpu& cpu, const Insn& in) {
    const T wanted = T(cpu.gpr[rax]);
    const auto once = [&] {
        const Linear at = destination<T>(cpu, in, Access::Read);
        if (!at.ok) return Outcome::Stop;
        const auto v = cpu.load<T>(at.value);
        if (!v.ok) return Outcome::Stop;
        cpu.lazy = alu::sub<T>(wanted, v.value).flags;
        advance<T>(cpu, in, rdi, 1);
        return Outcome::Next;
    };
    const auto many = [&](u64 n) -> u64 {
        const u8* at = bulk_pointer<T>(cpu, in, Seg::Es, rdi, Access::Read, n);
        if (!at) return 0;
        u64 done = 0;
        T v = 0;
        do v = load_host<T>(at + done++ * sizeof(T));
        while (done < n && !ends_scan<K>(v == wanted));
        cpu.lazy = alu::sub<T>(wanted, v).flags;
        advance<T>(cpu, in, rdi, done);
        return done;
    };
    return repeat<K, T>(cpu, in, once, many, [&] { return !ends_scan<K>(cpu.lazy.zf()); });
}

template <class T, Rep K>
Outcome compare_string(Cpu& cpu, const Insn& in) {
    const auto once = [&] {
        const Linear left = source<T>(cpu, in);
        if (!left.ok) return Outcome::Stop;
        const Linear right = destination<T>(cpu, in, Access::Read);
        if (!right.ok) return second_refused<T>(cpu, left.value);
        const auto a = cpu.load<T>(left.value);
        if (!a.ok) return Outcome::Stop;
        const auto b = cpu.load<T>(right.value);
        if (!b.ok) return Outcome::Stop;
        cpu.lazy = alu::sub<T>(a.value, b.value).flags;
        advance<T>(cpu, in, rsi, 1);
        advance<T>(cpu, in, rdi, 1);
        return Outcome::Next;
    };
    const auto many = [&](u64 n) -> u64 {
        const u8* left = bulk_pointer<T>(cpu, in, in.seg, rsi, Access::Read, n);
        const u8* right = left ? bulk_pointer<T>(cpu, in, Seg::Es, rdi, Access::Read, n) : nullptr;
        if (!right) return 0;
        u64 done = 0;
        T a = 0, b = 0;
        do {
            a = load_host<T>(left + done * sizeof(T));
            b = load_host<T>(right + done * sizeof(T));
            ++done;
        } while (done < n && !ends_scan<K>(a == b));
        cpu.lazy = alu::sub<T>(a, b).flags;
        advance<T>(cpu, in, rsi, done);
        advance<T>(cpu, in, rdi, done);
        return done;
    };
    return repeat<K, T>(cpu, in, once, many, [&] { return !ends_scan<K>(cpu.lazy.zf()); });
}

constexpr auto one_by_one = [](u64) -> u64 { return 0; };

// The destination is translated for writing before the port is read: what was read is not lost by a fault.
template <class T, Rep K>
Outcome input_string(Cpu& cpu, const Insn& in) {
    const u16 port = u16(cpu.gpr[rdx]);
    if (!cpu.port_allowed(port, sizeof(T))) return Outcome::Stop;
    const u32 form = form_string | (K == Rep::None ? 0 : form_rep);
    const auto once = [&] {
        const Linear to = destination<T>(cpu, in, Access::Write);
        if (!to.ok || cpu.misaligned(to.value, sizeof(T)) || !cpu.probe_write(to.value, sizeof(T))) return Outcome::Stop;
        const u32 count = K == Rep::None ? 1 : u32(std::min<u64>(register_of(cpu, in, rcx), ~u32{0}));
        const Slow v = cpu.port_in(port, sizeof(T), cpu.rflags & flag::df ? 1 : count, form);
        cpu.note_string_exit(in, to.value);
        if (v.outcome != Outcome::Next) return v.outcome;
        const Outcome out = cpu.store<T>(to.value, T(v.value));
        if (out != Outcome::Stop) advance<T>(cpu, in, rdi, 1);
        return out;
    };
    return repeat<K, T>(cpu, in, once, one_by_one, always);
}

template <class T, Rep K>
Outcome output_string(Cpu& cpu, const Insn& in) {
    const u16 port = u16(cpu.gpr[rdx]);
    if (!cpu.port_allowed(port, sizeof(T))) return Outcome::Stop;
    const u32 form = form_string | (K == Rep::None ? 0 : form_rep);
    const auto once = [&] {
        const Linear from = source<T>(cpu, in);
        if (!from.ok) return Outcome::Stop;
        const auto v = cpu.load<T>(from.value);
        if (!v.ok) return Outcome::Stop;
        const Outcome out = cpu.port_out(port, sizeof(T), v.value, form);
        cpu.note_string_exit(in, from.value);
        if (out != Outcome::Stop) advance<T>(cpu, in, rsi, 1);
        return out;
    };
    u64 count = register_of(cpu, in, rcx);
    if (K != Rep::None && count > 1 && !cpu.raw() && !cpu.control(proc::io_bitmaps)) {  // one exit for all that lies together
        u64 n = std::min<u64>(bulk_items<T>(cpu, count), ExitRecord::max_bytes / sizeof(T));
        if (const u8* from = n > 1 ? bulk_pointer<T>(cpu, in, in.seg, rsi, Access::Read, n) : nullptr) {
            const Outcome out = cpu.port_out_many(port, sizeof(T), from, u32(n * sizeof(T)));
            cpu.remaining -= i32(n) - 1;
            advance<T>(cpu, in, rsi, n);
            set_register(cpu, in, rcx, count - n);
            return count == n ? out : Outcome::Again;
        }
    }
    return repeat<K, T>(cpu, in, once, one_by_one, always);
}

}  // namespace

#include "ops_string.inc"

}  // namespace silicon::x86
