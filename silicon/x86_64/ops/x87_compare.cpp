// x87 comparisons. Rows: spec/x86_64/x87_compare.toml.
#include "silicon/x86_64/ops/x87_forms.h"

namespace silicon::x86 {
namespace {

// FCOMI and its kind: an invalid operand that is not masked leaves the flags.
template <class...>
Outcome compare_to_flags(Cpu& cpu, const Insn& in) {
    if (x87_raises(cpu)) return cpu.raise(vector_mf);
    X87Step step(cpu);
    step.run(in);
    step.commit();
    step.commit_flags();
    note_x87(cpu, in);
    return Outcome::Next;
}

}  // namespace
#include "ops_x87_compare.inc"

}  // namespace silicon::x86
