// RDRAND and RDSEED. Rows: spec/x86_64/random.toml.
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

// CF says whether there was a number; the other flags become 0.
// Intel SDM vol. 2, "RDRAND—Read Random Number", "RDSEED—Read Random SEED".
template <class Dst>
SILICON_INLINE Outcome draw(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const auto number = cpu.random_number(in);
    cpu.lazy = LazyFlags::of_bits(number ? flag::cf : 0);
    return Dst::store(cpu, in, T(number.value_or(0)));
}

}  // namespace

#include "ops_random.inc"

}  // namespace silicon::x86
