// Every C++ error has this one place where it becomes an HvError.
#include "bindings/common.h"

namespace binding {

void raise_error(const char* name, const std::string& message) {
    const nb::object kind = nb::module_::import_("pyhv.errors").attr(name);
    PyErr_SetString(kind.ptr(), message.c_str());
    throw nb::python_error();
}

}  // namespace binding
