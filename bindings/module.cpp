#include "bindings/common.h"

NB_MODULE(_silicon, module) {
    module.doc() = "The software CPU, as the binding shows it to pyhv.engines.soft.";
    nb::set_leak_warnings(false);
    binding::bind_host_memory(module);
    binding::bind_guest_memory(module);
    binding::bind_interrupts(module);
    binding::bind_exits(module);
    binding::bind_cpu(module);
    binding::bind_disassemble(module);
    binding::bind_thread_life(module);
}
