// x87 trigonometry, logarithms and powers. Rows: spec/x86_64/x87_transcendental.toml.
#include "silicon/x86_64/ops/x87_forms.h"

namespace silicon::x86 {

#include "ops_x87_transcendental.inc"

}  // namespace silicon::x86
