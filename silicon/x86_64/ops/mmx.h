// What an MMX instruction does to the x87 unit, whose registers it uses. A pending x87 exception comes first: #MF.
// Intel SDM vol. 3, "MMX Instructions: Exceptions".
#pragma once

#include "silicon/x86_64/ops/table.h"
#include "silicon/x86_64/x87.h"

namespace silicon::x86 {

// TOP becomes 0, no register is empty. Intel SDM vol. 3, "Effects of MMX Instructions on x87 FPU State".
SILICON_INLINE void enter_mmx(Cpu& cpu) {
    cpu.fx.fsw &= u16(~x87::top);
    cpu.fx.ftw = 0xff;
}

// dst = compute(src), as one MMX instruction
template <class Dst, class Src, class Compute>
SILICON_INLINE Outcome mmx_make(Cpu& cpu, const Insn& in, Compute compute) {
    if (x87_raises(cpu)) [[unlikely]] return cpu.raise(vector_mf);
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const Outcome out = Dst::store(cpu, in, typename Dst::type(compute(b.value)));
    if (out != Outcome::Stop) enter_mmx(cpu);
    return out;
}

// dst = compute(dst, src)
template <class Dst, class Src, class Compute>
SILICON_INLINE Outcome mmx_update(Cpu& cpu, const Insn& in, Compute compute) {
    return mmx_make<Dst, Src>(cpu, in, [&](auto b) { return compute(Dst::load(cpu, in).value, b); });
}

}  // namespace silicon::x86
