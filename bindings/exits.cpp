// ExitRecord → the frozen dataclasses of pyhv.exits. They are allocated and their slots filled, without `__init__`: half of
// an exit's time otherwise.
#include <nanobind/stl/string.h>
#include <structmember.h>

#include <array>
#include <initializer_list>

#include "bindings/common.h"

namespace binding {
namespace {

using silicon::x86::ExitKind;
using silicon::x86::ExitRecord;

constexpr size_t kinds = static_cast<size_t>(ExitKind::Unnamed) + 1;

struct ExitClass {
    PyTypeObject* type = nullptr;
    std::array<Py_ssize_t, 3> offsets{};
};
std::array<ExitClass, kinds> classes;

struct ExitName {
    ExitKind kind;
    const char* name;
    std::initializer_list<const char*> fields;
};
const ExitName names[] = {
    {ExitKind::PortIn, "PortIn", {"port", "size_bytes", "count"}},
    {ExitKind::PortOut, "PortOut", {"port", "size_bytes", "data"}},
    {ExitKind::PortOutMany, "PortOutMany", {"port", "size_bytes", "data"}},
    {ExitKind::MmioLoad, "MmioLoad", {"gpa", "size_bytes"}},
    {ExitKind::MmioStore, "MmioStore", {"gpa", "size_bytes", "value"}},
    {ExitKind::MmioFetch, "MmioFetch", {"gpa"}},
    {ExitKind::Halted, "Halted", {}},
    {ExitKind::Shutdown, "Shutdown", {}},
    {ExitKind::Kicked, "Kicked", {}},
    {ExitKind::DeadlinePassed, "DeadlinePassed", {}},
    {ExitKind::BudgetSpent, "BudgetSpent", {}},
    {ExitKind::MonitorTrap, "MonitorTrap", {}},
    {ExitKind::Exception, "Exception", {"vector", "error_code", "address"}},
    {ExitKind::InterruptWindow, "InterruptWindow", {}},
    {ExitKind::NmiWindow, "NmiWindow", {}},
    {ExitKind::MsrRead, "MsrRead", {"msr"}},
    {ExitKind::MsrWrite, "MsrWrite", {"msr", "value"}},
    {ExitKind::Cpuid, "Cpuid", {"leaf", "subleaf"}},
    {ExitKind::Hypercall, "Hypercall", {}},
    {ExitKind::CrAccess, "CrAccess", {"qualification"}},
    {ExitKind::DrAccess, "DrAccess", {"qualification"}},
    {ExitKind::BadGuestState, "BadGuestState", {"reason"}},
    {ExitKind::Breakpoint, "Breakpoint", {"gva"}},
    {ExitKind::Watchpoint, "Watchpoint", {"gva", "size_bytes", "wrote"}},
    {ExitKind::Unnamed, "Unnamed", {"raw"}},
};

// A slot's place in the object, from its descriptor.
Py_ssize_t slot_offset(PyTypeObject* type, const char* field) {
    const nb::object descriptor = nb::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), field));
    if (!descriptor.is_valid() || Py_TYPE(descriptor.ptr()) != &PyMemberDescr_Type)
        throw std::runtime_error(std::string("pyhv.exits: ") + type->tp_name + "." + field + " is not a slot");
    return reinterpret_cast<PyMemberDescrObject*>(descriptor.ptr())->d_member->offset;
}

void load_classes() {
    const nb::module_ module = nb::module_::import_("pyhv.exits");
    for (const ExitName& name : names) {
        ExitClass& entry = classes[static_cast<size_t>(name.kind)];
        nb::object type = module.attr(name.name);
        entry.type = reinterpret_cast<PyTypeObject*>(type.release().ptr());  // kept for good
        size_t n = 0;
        for (const char* field : name.fields) entry.offsets[n++] = slot_offset(entry.type, field);
    }
}

PyObject* number(silicon::u64 value) { return PyLong_FromUnsignedLongLong(value); }

PyObject* error_code(const ExitRecord& r) {
    return r.interruption_info >> 11 & 1 ? number(r.interruption_error) : Py_NewRef(Py_None);
}

PyObject* fault_address(const ExitRecord& r) {
    return (r.interruption_info & 0xff) == 14 ? number(r.qualification) : Py_NewRef(Py_None);
}

PyObject* raw_record(const ExitRecord& r) {
    nb::dict raw;
    raw["reason"] = static_cast<silicon::u32>(r.reason);
    raw["qualification"] = r.qualification;
    raw["gpa"] = r.gpa;
    raw["gva"] = r.gva;
    raw["length_bytes"] = r.length_bytes;
    raw["interruption_info"] = r.interruption_info;
    raw["vectoring_info"] = r.vectoring_info;
    return raw.release().ptr();
}

struct Values {
    std::array<PyObject*, 3> items{};
};

Values values_of(const ExitRecord& r) {
    switch (r.kind) {
        case ExitKind::PortIn: return {{number(r.port), number(r.size_bytes), number(r.count)}};
        case ExitKind::PortOut: return {{number(r.port), number(r.size_bytes), number(r.value)}};
        case ExitKind::PortOutMany:
            return {{number(r.port), number(r.size_bytes),
                     PyBytes_FromStringAndSize(reinterpret_cast<const char*>(r.data.data()), r.data_bytes)}};
        case ExitKind::MmioLoad: return {{number(r.gpa), number(r.size_bytes), nullptr}};
        case ExitKind::MmioStore: return {{number(r.gpa), number(r.size_bytes), number(r.value)}};
        case ExitKind::MmioFetch: return {{number(r.gpa), nullptr, nullptr}};
        case ExitKind::Exception: return {{number(r.interruption_info & 0xff), error_code(r), fault_address(r)}};
        case ExitKind::MsrRead: return {{number(r.msr), nullptr, nullptr}};
        case ExitKind::MsrWrite: return {{number(r.msr), number(r.value), nullptr}};
        case ExitKind::Cpuid: return {{number(r.value & 0xffffffff), number(r.value >> 32), nullptr}};
        case ExitKind::CrAccess:
        case ExitKind::DrAccess: return {{number(r.qualification), nullptr, nullptr}};
        case ExitKind::BadGuestState: return {{PyUnicode_FromString(r.text ? r.text : ""), nullptr, nullptr}};
        case ExitKind::Breakpoint: return {{number(r.gva), nullptr, nullptr}};
        case ExitKind::Watchpoint: return {{number(r.gva), number(r.size_bytes), PyBool_FromLong(r.value != 0)}};
        case ExitKind::Unnamed: return {{raw_record(r), nullptr, nullptr}};
        default: return {};
    }
}

}  // namespace

PyObject* exit_object(const ExitRecord& record) {
    const ExitClass& entry = classes[static_cast<size_t>(record.kind)];
    if (!entry.type) load_classes();
    PyObject* object = entry.type->tp_alloc(entry.type, 0);
    if (!object) throw nb::python_error();
    const Values values = values_of(record);
    for (size_t n = 0; n < values.items.size() && values.items[n]; ++n)
        *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(object) + entry.offsets[n]) = values.items[n];
    return object;
}

// For the tests of the mapping: a record given by its fields, without a VM.
static nb::object exit_from_record(const std::string& kind, const nb::dict& fields) {
    ExitRecord r;
    for (const ExitName& name : names)
        if (kind == name.name) r.kind = name.kind;
    if (r.kind == ExitKind::None) throw nb::key_error(("no exit is named " + kind).c_str());
    const auto get = [&](const char* field) -> silicon::u64 {
        return fields.contains(field) ? nb::cast<silicon::u64>(fields[field]) : 0;
    };
    r.port = static_cast<silicon::u16>(get("port"));
    r.size_bytes = static_cast<silicon::u8>(get("size_bytes"));
    r.count = static_cast<silicon::u32>(get("count"));
    r.value = get("value");
    r.gpa = get("gpa");
    r.gva = get("gva");
    r.msr = static_cast<silicon::u32>(get("msr"));
    r.reason = static_cast<silicon::x86::Reason>(get("reason"));
    r.qualification = get("qualification");
    r.interruption_info = static_cast<silicon::u32>(get("interruption_info"));
    r.interruption_error = static_cast<silicon::u32>(get("interruption_error"));
    return nb::steal(exit_object(r));
}

void bind_exits(nb::module_& module) { module.def("exit_from_record", &exit_from_record); }

}  // namespace binding
