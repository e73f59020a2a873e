// x87 and SSE state in words: what is compared, what a case file says, what a story shows.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "silicon/oracle/layout.h"

namespace silicon::oracle {

// The status word's bits among what a program may leave undefined: above RFLAGS.
inline constexpr unsigned status_shift = 32;
inline constexpr u64 status_bits = u64{0xffff} << status_shift;

// Differences between what the host left and what the software CPU left, as "xmm3 host …, soft …". `compared`: as
// compared_flags gives them. In code that is not 64-bit there are eight XMM registers.
void compare_fx(unsigned bits, const x86::FxState& host, const x86::FxState& soft, u64 compared,
                std::vector<std::string>& out);

// This processor keeps the opcode and the pointers of the last x87 instruction through FXRSTOR and FXSAVE.
bool host_keeps_pointers();

// "WHEN_xmm3 = 0x…" lines of all that is not as in `usual`.
std::string fx_lines(const char* when, const x86::FxState& fx, const x86::FxState& usual);
// The other way: `value_of(key)` is a value's text, or null where the file has none; then it stays as it is in `fx`.
void read_fx(const std::string& when, x86::FxState& fx,
             const std::function<const std::string*(const std::string&)>& value_of);

// What is not zero or usual before or after, one line a register.
std::string fx_story(const x86::FxState& before, const x86::FxState& host, const x86::FxState& soft);

// The status word says what its exceptions and the control word's masks come to.
void summarise_exceptions(x86::FxState& fx);

// Each part of the state by itself (a register, a control word), for who tries to do without: sets it to its usual
// value in `fx`. False: there is no such part.
bool reset_part(x86::FxState& fx, unsigned part);

}  // namespace silicon::oracle
