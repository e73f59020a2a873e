// Moves between XMM registers and memory. Rows: spec/x86_64/simd_move.toml.
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

template <class Dst, class Src>
SILICON_INLINE Outcome move_vector(Cpu& cpu, const Insn& in) {
    const auto v = Src::load(cpu, in);
    if (!v.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, v.value);
}

}  // namespace

#include "ops_simd_move.inc"

}  // namespace silicon::x86
