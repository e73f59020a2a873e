// x87 comparisons. Rows: spec/x86_64/x87_compare.toml.
#include "silicon/x86_64/ops/x87_quick.h"

namespace silicon::x86 {

#include "host_x87_compare.inc"

namespace {

// An answer in the status word: taken, or false if an exception is not masked. Nothing else has changed.
SILICON_INLINE bool take_answer(Cpu& cpu, u16 status, u16 codes) {
    if (x87_trapped(cpu.fx, status)) [[unlikely]] return false;
    x87_settle(cpu.fx, status, codes);
    return true;
}

template <unsigned Pops>
SILICON_INLINE void pop_all(FxState& fx) {
    for (unsigned n = 0; n < Pops; ++n) x87_pop(fx);
}

// The top with another register, `from_top` below it.
template <class Op, unsigned Pops>
Outcome compare_registers(Cpu& cpu, const Insn& in, unsigned from_top) {
    FxState& fx = cpu.fx;
    const unsigned top = fx.top(), other = x87_place(fx, from_top);
    if (!x87_usable(fx, 1u << top | 1u << other)) [[unlikely]] return whole_x87(cpu, in);
    cpu.ready_x87();
    if (!take_answer(cpu, Op::run(fx.st[top], fx.st[other]), x87::condition)) return whole_x87(cpu, in);
    pop_all<Pops>(fx);
    note_x87(cpu, in);
    return Outcome::Next;
}
template <class Op, unsigned Pops, class>
SILICON_INLINE Outcome compare(Cpu& cpu, const Insn& in) {
    return compare_registers<Op, Pops>(cpu, in, in.reg[0]);
}
template <class Op, unsigned Pops, class, class>
SILICON_INLINE Outcome compare_second(Cpu& cpu, const Insn& in) {
    return compare_registers<Op, Pops>(cpu, in, in.reg[1]);
}
template <class Op>
SILICON_INLINE Outcome compare_two_popped(Cpu& cpu, const Insn& in) {
    return compare_registers<Op, 2>(cpu, in, 1);
}

template <class Op, unsigned Pops, class Src>
Outcome compare_number(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned top = fx.top();
    if (!x87_usable(fx, 1u << top)) [[unlikely]] return load_number<Src>(cpu, in);
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    cpu.ready_x87();
    if (!take_answer(cpu, Op::run(fx.st[top], b.value), x87::condition)) return whole_x87_load(cpu, in, &b.value);
    pop_all<Pops>(fx);
    note_x87_operand(cpu, in);
    return Outcome::Next;
}

template <class Op>
Outcome look_at_top(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned top = fx.top();
    if (!x87_usable(fx, 1u << top)) [[unlikely]] return whole_x87(cpu, in);
    cpu.ready_x87();
    if (!take_answer(cpu, Op::run(fx.st[top]), x87::condition)) return whole_x87(cpu, in);
    note_x87(cpu, in);
    return Outcome::Next;
}

// FCOMI and its kind, the whole way: an invalid operand that is not masked leaves the flags.
Outcome whole_to_flags(Cpu& cpu, const Insn& in) {
    if (x87_raises(cpu)) return cpu.raise(vector_mf);
    X87Step step(cpu);
    step.run(in);
    step.commit();
    step.commit_flags();
    note_x87(cpu, in);
    return Outcome::Next;
}

// Of the condition codes processors leave all alone, or clear C1 as the SDM has it. The host is asked once; its unit is not
// the guest's after that.
u16 codes_of_compare_to_flags(Cpu& cpu) {
    static const u16 codes = [&cpu] {
        X87Image image;
        image.status = x87::c1;
        image.tags = 0;
        run_on_host_x87(image, 0x3f0, nullptr, 0);  // FCOMI ST, ST(0)
        cpu.x87_changed();
        return image.status & x87::c1 ? u16{0} : x87::c1;
    }();
    return codes;
}

template <class Op, bool Pops, class, class>
Outcome compare_to_flags(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned top = fx.top(), other = x87_place(fx, in.reg[1]);
    if (!x87_usable(fx, 1u << top | 1u << other)) [[unlikely]] return whole_to_flags(cpu, in);
    const u16 codes = codes_of_compare_to_flags(cpu);
    cpu.ready_x87();
    X87Flags flags;
    const u16 status = u16(Op::run(fx.st[top], fx.st[other], flags) & ~x87::c1);
    if (!take_answer(cpu, status, codes)) return whole_to_flags(cpu, in);
    cpu.lazy = LazyFlags::of_bits(u64{flags.carry} | u64{flags.parity} << 2 | u64{flags.zero} << 6);
    if (Pops) x87_pop(fx);
    note_x87(cpu, in);
    return Outcome::Next;
}

}  // namespace

#include "ops_x87_compare.inc"

}  // namespace silicon::x86
