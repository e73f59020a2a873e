// Moves to, from and among x87 registers. Rows: spec/x86_64/x87_move.toml.
#include <cstring>

#include "silicon/x86_64/ops/x87_quick.h"

namespace silicon::x86 {

#include "host_x87_move.inc"

namespace {

constexpr size_t slot_bytes = 16;  // ten of the register, six of nothing

template <class Op, class Src>
Outcome load(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    if (!x87_room(fx)) [[unlikely]] return load_number<Src>(cpu, in);
    const auto from = Src::load(cpu, in);
    if (!from.ok) [[unlikely]] return Outcome::Stop;
    const auto run = [&](u8* to) { return Op::run(from.value, to); };
    if (!x87_make(cpu, x87_place(fx, 7), x87::c1, run)) [[unlikely]] return whole_x87_load(cpu, in, &from.value);
    x87_push(fx);
    note_x87_operand(cpu, in);
    return Outcome::Next;
}

// 80 bits are taken as they are.
template <class>
Outcome load_80(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    if (!x87_room(fx)) [[unlikely]] return load_number<M80>(cpu, in);
    const auto from = load_real80(cpu, in);
    if (!from.ok) [[unlikely]] return Outcome::Stop;
    u8* to = fx.st[x87_place(fx, 7)];
    store_host<u64>(to, from.value.significand);
    store_host<u16>(to + 8, from.value.sign_exponent);
    x87_push(fx);
    x87_settle(fx, 0);
    note_x87_operand(cpu, in);
    return Outcome::Next;
}
template <class>
SILICON_INLINE Outcome load_decimal(Cpu& cpu, const Insn& in) {
    return load_number<M80>(cpu, in);
}

template <class>
Outcome load_register(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned from = x87_place(fx, in.reg[0]);
    if (!x87_room(fx) || !x87_usable(fx, 1u << from)) [[unlikely]] return whole_x87(cpu, in);
    std::memcpy(fx.st[x87_place(fx, 7)], fx.st[from], slot_bytes);
    x87_push(fx);
    x87_settle(fx, 0);
    note_x87(cpu, in);
    return Outcome::Next;
}

template <class Op>
Outcome load_constant(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    if (!x87_room(fx)) [[unlikely]] return whole_x87(cpu, in);
    if (!x87_make(cpu, x87_place(fx, 7), x87::c1, [](u8* to) { return Op::run(to); })) return whole_x87(cpu, in);
    x87_push(fx);
    note_x87(cpu, in);
    return Outcome::Next;
}

// As x87_underflows, of a number in memory.
SILICON_INLINE bool is_tiny(X87StoreReal, u32 value) { return !(value & 0x7f800000) && value << 1; }
SILICON_INLINE bool is_tiny(X87StoreReal, u64 value) { return !(value & 0x7ff0000000000000) && value << 1; }
SILICON_INLINE bool is_tiny(X87StoreInteger, u64) { return false; }
SILICON_INLINE bool is_tiny(X87StoreTruncated, u64) { return false; }

// The host's flags are ahead of the guest's if the store faults.
template <class Op, bool Pops, class Dst>
Outcome store(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned top = fx.top();
    if (!x87_usable(fx, 1u << top)) [[unlikely]] return store_number<Dst>(cpu, in);
    cpu.ready_x87();
    typename Dst::type value;
    const u16 status = Op::run(fx.st[top], value);
    const bool underflows = !(fx.fcw & x87::ue) && is_tiny(Op{}, value);
    if (x87_trapped(fx, status) || underflows) [[unlikely]] return whole_x87_store<Dst>(cpu, in);
    const Outcome out = Dst::store(cpu, in, value);
    if (out == Outcome::Stop) [[unlikely]] return cpu.x87_changed(), out;
    x87_settle(fx, status);
    if (Pops) x87_pop(fx);
    note_x87_operand(cpu, in);
    return out;
}

template <class>
Outcome store_80(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned top = fx.top();
    if (!x87_usable(fx, 1u << top)) [[unlikely]] return store_number<M80>(cpu, in);
    const Outcome out = store_real80(cpu, in, {load_host<u64>(fx.st[top]), load_host<u16>(fx.st[top] + 8)});
    if (out == Outcome::Stop) [[unlikely]] return out;
    x87_settle(fx, 0);
    x87_pop(fx);
    note_x87_operand(cpu, in);
    return out;
}
template <class>
SILICON_INLINE Outcome store_decimal(Cpu& cpu, const Insn& in) {
    return store_number<M80>(cpu, in);
}

template <bool Pops, class>
Outcome store_register(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned top = fx.top(), to = x87_place(fx, in.reg[0]);
    if (!x87_usable(fx, 1u << top)) [[unlikely]] return whole_x87(cpu, in);
    std::memmove(fx.st[to], fx.st[top], slot_bytes);
    fx.ftw |= u8(1u << to);
    x87_settle(fx, 0);
    if (Pops) x87_pop(fx);
    note_x87(cpu, in);
    return Outcome::Next;
}

template <class>
Outcome exchange(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned top = fx.top(), other = x87_place(fx, in.reg[0]);
    if (!x87_usable(fx, 1u << top | 1u << other)) [[unlikely]] return whole_x87(cpu, in);
    const u64 significand = load_host<u64>(fx.st[top]);  // in the parts in which the host stores registers
    const u16 sign_exponent = load_host<u16>(fx.st[top] + 8);
    store_host<u64>(fx.st[top], load_host<u64>(fx.st[other]));
    store_host<u16>(fx.st[top] + 8, load_host<u16>(fx.st[other] + 8));
    store_host<u64>(fx.st[other], significand);
    store_host<u16>(fx.st[other] + 8, sign_exponent);
    x87_settle(fx, 0);
    note_x87(cpu, in);
    return Outcome::Next;
}

// No condition code changes.
template <Condition When, class, class>
Outcome move_if(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned top = fx.top(), from = x87_place(fx, in.reg[1]);
    if (!x87_usable(fx, 1u << top | 1u << from)) [[unlikely]] return whole_x87(cpu, in);
    if (holds<When>(cpu.lazy)) std::memmove(fx.st[top], fx.st[from], slot_bytes);
    note_x87(cpu, in);
    return Outcome::Next;
}

// FINCSTP, FDECSTP: tags and registers stay.
template <unsigned By>
Outcome turn(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    if (x87_raises(cpu)) [[unlikely]] return cpu.raise(vector_mf);
    x87_set_top(fx, fx.top() + By);
    x87_settle(fx, 0);
    note_x87(cpu, in);
    return Outcome::Next;
}

}  // namespace

#include "ops_x87_move.inc"

}  // namespace silicon::x86
