// What the files of the binding share.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "silicon/x86_64/exit_record.h"

namespace nb = nanobind;

namespace binding {

// Raises a class of pyhv.errors.
[[noreturn]] void raise_error(const char* name, const std::string& message);

// An object of pyhv.exits, filled in place; a new reference.
PyObject* exit_object(const silicon::x86::ExitRecord& record);

void bind_host_memory(nb::module_& module);
void bind_guest_memory(nb::module_& module);
void bind_interrupts(nb::module_& module);
void bind_exits(nb::module_& module);
void bind_cpu(nb::module_& module);
void bind_disassemble(nb::module_& module);
void bind_thread_life(nb::module_& module);

}  // namespace binding
