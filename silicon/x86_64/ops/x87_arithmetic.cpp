// x87 arithmetic. Rows: spec/x86_64/x87_arithmetic.toml.
#include "silicon/x86_64/ops/x87_forms.h"

namespace silicon::x86 {

#include "ops_x87_arithmetic.inc"

}  // namespace silicon::x86
