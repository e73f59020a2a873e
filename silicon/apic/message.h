// An interrupt on its way to local APICs: what an interrupt command, a redirection entry and a device's message come to.
// Intel SDM vol. 3, "Interrupt Command Register (ICR)", "Message Signalled Interrupts".
#pragma once

#include "silicon/types.h"

namespace silicon::apic {

enum class Delivery : u8 { Fixed = 0, LowestPriority = 1, Smi = 2, Reserved = 3, Nmi = 4, Init = 5, StartUp = 6, ExtInt = 7 };

enum class Trigger : u8 { Edge, EdgeAutoEoi, Level };  // EdgeAutoEoi: in service it is not remembered

// To whom, beside the address of a message.
enum class Shorthand : u8 { None = 0, Self = 1, All = 2, Others = 3 };

struct Message {
    u32 destination = 0;
    bool wide = false;  // the destination has 32 bits, as from an interrupt command in x2APIC mode, else 8
    bool logical = false;
    Delivery delivery = Delivery::Fixed;
    u8 vector = 0;
    Trigger trigger = Trigger::Edge;
    Shorthand shorthand = Shorthand::None;
};

inline constexpr u8 first_vector = 16;  // those below are no interrupts

}  // namespace silicon::apic
