// Moves between XMM registers and memory. Rows: spec/x86_64/simd_move.toml.
#include "silicon/x86_64/ops/lanes.h"
#include "silicon/x86_64/ops/masked_store.h"

namespace silicon::x86 {
namespace {

template <class Dst, class Src>
SILICON_INLINE Outcome move_vector(Cpu& cpu, const Insn& in) {
    const auto v = Src::load(cpu, in);
    if (!v.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, v.value);
}

// The rest of the register becomes 0.
template <class Dst, class Src>
SILICON_INLINE Outcome move_widened(Cpu& cpu, const Insn& in) {
    const auto v = Src::load(cpu, in);
    if (!v.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, widened(v.value));
}

template <class Src, class Mask>
SILICON_INLINE Outcome move_selected(Cpu& cpu, const Insn& in) {
    const Linear at = masked_place(cpu, in, 16);
    if (!at.ok) [[unlikely]] return Outcome::Stop;
    const Vec v = Src::load(cpu, in).value, mask = Mask::load(cpu, in).value;
    const Outcome low = store_selected(cpu, at.value, v[0], mask[0]);
    if (low == Outcome::Stop) return low;
    const Outcome high = store_selected(cpu, at.value + 8, v[1], mask[1]);
    return high == Outcome::Next ? low : high;
}

}  // namespace

#include "ops_simd_move.inc"

}  // namespace silicon::x86
