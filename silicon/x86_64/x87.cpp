#include "silicon/x86_64/x87.h"

#include <algorithm>
#include <cstring>

namespace silicon::x86 {
namespace {

constexpr unsigned register_bytes = 10;
constexpr u16 sticky = x87::exceptions | x87::stack_fault;
constexpr unsigned tag_valid = 0, tag_zero = 1, tag_special = 2, tag_empty = 3;

unsigned tag_of(const u8* reg) {
    const u64 significand = load_host<u64>(reg);
    const unsigned exponent = load_host<u16>(reg + 8) & 0x7fff;
    if (exponent == 0 && significand == 0) return tag_zero;
    return exponent == 0 || exponent == 0x7fff || !(significand >> 63) ? tag_special : tag_valid;
}

}  // namespace

bool x87_is_normal(const u8* reg) { return tag_of(reg) == tag_valid; }

u16 full_x87_tags(const FxState& fx) {
    unsigned tags = 0;
    for (unsigned n = 0; n < 8; ++n) tags |= (fx.ftw >> n & 1 ? tag_of(fx.st[n]) : tag_empty) << 2 * n;
    return u16(tags);
}

u8 abridged_x87_tags(u16 full) {
    unsigned tags = 0;
    for (unsigned n = 0; n < 8; ++n) tags |= unsigned((full >> 2 * n & 3) != tag_empty) << n;
    return u8(tags);
}

void initialise_x87(Cpu& cpu) {
    FxState& fx = cpu.fx;
    fx.fcw = x87::initial_control;
    fx.fsw = fx.fop = 0;
    fx.ftw = 0;
    fx.fip = fx.fdp = 0;
    cpu.x87_changed();
}

Loaded<Real80> load_real80(Cpu& cpu, const Insn& in) {
    const Linear low_at = x87_part(cpu, in, 0, 8, Access::Read);
    if (!low_at.ok) return {{}, false};
    const auto low = cpu.load<u64>(low_at.value);
    if (!low.ok) return {{}, false};
    const Linear high_at = x87_part(cpu, in, 8, 2, Access::Read);
    if (!high_at.ok) return {{}, false};
    const auto high = cpu.load<u16>(high_at.value);
    return {{low.value, high.value}, high.ok};
}

// Both parts are translated before the first is stored.
Outcome store_real80(Cpu& cpu, const Insn& in, const Real80& value) {
    if (probe_x87_store(cpu, in, register_bytes) == Outcome::Stop) return Outcome::Stop;
    const Outcome low = cpu.store<u64>(x87_part(cpu, in, 0, 8, Access::Write).value, value.significand);
    if (low == Outcome::Stop) return low;
    const Outcome high = cpu.store<u16>(x87_part(cpu, in, 8, 2, Access::Write).value, value.sign_exponent);
    return high == Outcome::Next ? low : high;
}

// Flags that stand already are kept out, so that one which is pending and ignored does not stop the host.
X87Step::X87Step(Cpu& cpu) : cpu_(cpu) {
    const FxState& fx = cpu.fx;
    image_.control = fx.fcw;
    image_.status = u16(fx.fsw & ~(sticky | x87::summary | x87::busy));
    image_.tags = full_x87_tags(fx);
    for (unsigned n = 0; n < 8; ++n) std::memcpy(image_.st[n], fx.st[(fx.top() + n) & 7], register_bytes);
}

void X87Step::run(const Insn& in, void* memory) {
    cpu_.lend_x87();
    flags_ = run_on_host_x87(image_, u16(in.imm), memory, cpu_.lazy.bits());
    cpu_.x87_changed();
}

bool X87Step::stores() const { return !(image_.status & ~image_.control & x87::exceptions & ~x87::pe); }

void X87Step::commit() {
    FxState& fx = cpu_.fx;
    fx.fsw = x87::with_summary(u16(image_.status | (fx.fsw & sticky)), fx.fcw);
    fx.ftw = abridged_x87_tags(image_.tags);
    for (unsigned n = 0; n < 8; ++n) std::memcpy(fx.st[(fx.top() + n) & 7], image_.st[n], register_bytes);
}

Outcome probe_x87_store(Cpu& cpu, const Insn& in, unsigned size_bytes) {
    const unsigned low_bytes = size_bytes < 8 ? size_bytes : 8, high_bytes = size_bytes - low_bytes;
    const Linear low = x87_part(cpu, in, 0, low_bytes, Access::Write);
    if (!low.ok || cpu.misaligned(low.value, low_bytes) || !cpu.probe_write(low.value, low_bytes)) return Outcome::Stop;
    if (high_bytes == 0) return Outcome::Next;
    const Linear high = x87_part(cpu, in, low_bytes, high_bytes, Access::Write);
    return high.ok && cpu.probe_write(high.value, high_bytes) ? Outcome::Next : Outcome::Stop;
}

Outcome whole_x87(Cpu& cpu, const Insn& in) {
    if (x87_raises(cpu)) return cpu.raise(vector_mf);
    X87Step step(cpu);
    step.run(in);
    step.commit();
    note_x87(cpu, in);
    return Outcome::Next;
}

Outcome whole_x87_load(Cpu& cpu, const Insn& in, const void* operand) {
    X87Step step(cpu);
    step.run(in, const_cast<void*>(operand));
    step.commit();
    note_x87_operand(cpu, in);
    return Outcome::Next;
}

}  // namespace silicon::x86
