// Packed integers in XMM registers. Rows: spec/x86_64/simd_integer.toml.
#include "silicon/x86_64/ops/host_simd.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

#include "host_simd_integer.inc"

template <class Host, class Dst, class Src>
SILICON_INLINE Outcome lanes(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, Host::run(Dst::load(cpu, in).value, b.value));
}

}  // namespace

#include "ops_simd_integer.inc"

}  // namespace silicon::x86
