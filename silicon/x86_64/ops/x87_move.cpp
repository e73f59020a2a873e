// Moves to, from and among x87 registers. Rows: spec/x86_64/x87_move.toml.
#include "silicon/x86_64/ops/x87_forms.h"

namespace silicon::x86 {
namespace {

template <class>
SILICON_INLINE Outcome load_number_80(Cpu& cpu, const Insn& in) {
    return load_number<M80>(cpu, in);
}

template <class>
SILICON_INLINE Outcome store_number_80(Cpu& cpu, const Insn& in) {
    return store_number<M80>(cpu, in);
}

}  // namespace
#include "ops_x87_move.inc"

}  // namespace silicon::x86
