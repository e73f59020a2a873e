// A processor whose instructions somebody else executes, say the host's own processor under KVM: this one is its
// interrupt controllers, and what they want of it. See outside.cpp.
#pragma once

#include "silicon/types.h"

namespace silicon::x86 {

// Whoever executes the instructions, to be told when something comes meanwhile. Called from any thread.
class Interrupter {
  public:
    virtual void interrupt() = 0;

  protected:
    ~Interrupter() = default;
};

// What `look_outside` finds; 0: nothing, go on.
namespace wants {
inline constexpr u32 interrupt = 1 << 8;  // deliver the vector in the low byte: it is in service now
inline constexpr u32 window = 1 << 9;     // an interrupt waits until it can be taken
inline constexpr u32 nmi = 1 << 10;
inline constexpr u32 message = 1 << 11;   // INIT or start-up: `take_messages_outside`, with the whole state at hand
inline constexpr u32 wait = 1 << 12;      // HLT, or it waits for a start-up message
}  // namespace wants

// What can be taken now.
namespace takes {
inline constexpr u32 interrupt = 1, nmi = 2;
}  // namespace takes

}  // namespace silicon::x86
