// For Python: a vCPU whose instructions another engine executes, as the interrupt controllers of that one.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>
#include <vector>

#include "bindings/common.h"
#include "bindings/vcpu.h"

namespace binding {
namespace {

using namespace silicon;
using namespace silicon::x86;

InterruptUnit& unit_of(VcpuObject& vcpu) {
    Cpu& cpu = idle(vcpu);
    if (!cpu.unit()) raise_error("Unsupported", "this VM has no interrupt controllers");
    return *cpu.unit();
}

void outside_begin(VcpuObject& vcpu, int signal) {
    unit_of(vcpu);
    vcpu.outside.begin(signal);
    vcpu.cpu.run_outside(&vcpu.outside);
}

u32 outside_look(VcpuObject& vcpu, u32 can, u64 task_priority) { return unit_of(vcpu).cpu.look_outside(can, task_priority); }

void outside_wait(VcpuObject& vcpu, u64 deadline_ns, u64 most_ns) {
    Cpu& cpu = unit_of(vcpu).cpu;
    const nb::gil_scoped_release release;
    cpu.wait_outside(deadline_ns, most_ns);
}

// A page of the interrupt controllers, or None.
nb::object unit_load(VcpuObject& vcpu, u64 gpa, unsigned size_bytes) {
    InterruptUnit& unit = unit_of(vcpu);
    return unit.on_page(gpa) ? nb::cast(unit.load(gpa, size_bytes).value) : nb::none();
}

bool unit_store(VcpuObject& vcpu, u64 gpa, unsigned size_bytes, u64 value) {
    InterruptUnit& unit = unit_of(vcpu);
    if (!unit.on_page(gpa)) return false;
    unit.store(gpa, value, size_bytes);
    return true;
}

// None: #GP.
nb::object unit_read_msr(VcpuObject& vcpu, u32 msr) {
    u64 value = 0;
    return unit_of(vcpu).read_msr(msr, value) ? nb::cast(value) : nb::none();
}

bool unit_write_msr(VcpuObject& vcpu, u32 msr, u64 value) {
    InterruptUnit& unit = unit_of(vcpu);
    if (!unit.write_msr(msr, value, true)) return false;
    unit.follow_task_priority();
    return true;
}

using CpuidRow = std::tuple<u32, u32, u32, u32, u32, u32>;

// The table with what the processor says of itself: its APIC id, how many there are.
std::vector<CpuidRow> identified_cpuid(VcpuObject& vcpu) {
    InterruptUnit& unit = unit_of(vcpu);
    std::vector<CpuidRow> rows;
    for (CpuidLeaf leaf : unit.cpu.cpuid.leaves()) {
        unit.identify(leaf);
        rows.emplace_back(leaf.leaf, leaf.subleaf, leaf.reg[0], leaf.reg[1], leaf.reg[2], leaf.reg[3]);
    }
    return rows;
}

}  // namespace

void bind_vcpu_outside(nb::class_<VcpuObject>& cls) {
    cls.def("outside_begin", &outside_begin, nb::arg("signal"), "This thread executes it, and takes `signal` when something comes.")
        .def("outside_end", [](VcpuObject& v) { v.cpu.run_outside(nullptr); })
        .def("outside_look", &outside_look, nb::arg("can"), nb::arg("task_priority"))
        .def("outside_wait", &outside_wait, nb::arg("deadline_ns"), nb::arg("most_ns"))
        .def("outside_wake", [](VcpuObject& v) { v.cpu.notify(request::event); }, "From any thread.")
        .def("outside_messages", [](VcpuObject& v) { unit_of(v).cpu.take_messages_outside(); })
        .def("outside_due", [](VcpuObject& v) { return unit_of(v).cpu.due_outside(); })
        .def("unit_load", &unit_load, nb::arg("gpa"), nb::arg("size_bytes"), nb::sig("def unit_load(self, gpa: int, size_bytes: int) -> int | None"))
        .def("unit_store", &unit_store, nb::arg("gpa"), nb::arg("size_bytes"), nb::arg("value"))
        .def("unit_in", [](VcpuObject& v, u16 port, unsigned size_bytes) { return unit_of(v).in(port, size_bytes); }, nb::arg("port"), nb::arg("size_bytes"))
        .def("unit_out", [](VcpuObject& v, u16 port, unsigned size_bytes, u32 value) { unit_of(v).out(port, size_bytes, value); },
             nb::arg("port"), nb::arg("size_bytes"), nb::arg("value"))
        .def("unit_owns_msr", [](VcpuObject& v, u32 msr) { return unit_of(v).owns_msr(msr); }, nb::arg("msr"))
        .def("unit_read_msr", &unit_read_msr, nb::arg("msr"), nb::sig("def unit_read_msr(self, msr: int) -> int | None"))
        .def("unit_write_msr", &unit_write_msr, nb::arg("msr"), nb::arg("value"))
        .def("identified_cpuid", &identified_cpuid);
}

}  // namespace binding
