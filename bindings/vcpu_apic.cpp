// A vCPU's local APIC for Python.
#include <nanobind/stl/tuple.h>

#include <cstring>

#include "bindings/common.h"
#include "bindings/vcpu.h"

namespace binding {
namespace {

using namespace silicon;
using namespace silicon::x86;
using apic::LocalApic;
using apic::LocalState;
using apic::Message;
using apic::Notice;

LocalApic& local_of(Cpu& cpu) {
    if (!cpu.unit()) raise_error("Unsupported", "this VM has no interrupt controllers");
    return cpu.unit()->local;
}

// The state as Apple lays it out, then what there has no room: an NMI (bit 0) and an ExtINT (bit 1) that wait.
nb::bytes read_apic(VcpuObject& vcpu) {
    Cpu& cpu = idle(vcpu);
    if (!cpu.unit()) return nb::bytes("", 0);
    char image[sizeof(LocalState) + sizeof(u32)];
    const LocalState state = cpu.unit()->local.save(cpu.activity == activity_waits);
    const u32 lines = cpu.unit()->local.waiting_lines();
    std::memcpy(image, &state, sizeof state);
    std::memcpy(image + sizeof state, &lines, sizeof lines);
    return nb::bytes(image, sizeof image);
}

// With or without the word behind it.
void write_apic(VcpuObject& vcpu, const nb::bytes& image) {
    Cpu& cpu = idle(vcpu);
    LocalApic& local = local_of(cpu);
    LocalState state;
    const size_t size = image.size();
    if (size != sizeof state && size != sizeof state + sizeof(u32))
        raise_error("BadArgument", "a local APIC's state has 240 or 244 bytes, not " + std::to_string(size));
    std::memcpy(&state, image.c_str(), sizeof state);
    if (!cpu.unit()->load_local(state)) raise_error("BadArgument", "these bytes are not a state of this vCPU's local APIC");
    if (size == sizeof state) return;
    u32 lines = 0;
    std::memcpy(&lines, image.c_str() + sizeof state, sizeof lines);
    local.set_waiting_lines(lines);
}

// True: nothing is left to do for the caller.
bool apic_write(VcpuObject& vcpu, u32 offset, u32 value) {
    Cpu& cpu = idle(vcpu);
    LocalApic& local = local_of(cpu);
    local.notice = {};
    local.write(offset, value);
    local.begin_count();
    cpu.unit()->follow_task_priority();
    return local.notice.kind == Notice::Kind::None;
}

std::tuple<unsigned, unsigned, u64> exit_notice(VcpuObject& vcpu) {
    const Notice& notice = local_of(idle(vcpu)).notice;
    const auto kind = notice.kind == Notice::Kind::None ? Notice::Kind::Exit : notice.kind;
    return {static_cast<unsigned>(kind), notice.vector, notice.targets};
}

// From any thread, as a device would.
void apic_post(VcpuObject& vcpu, unsigned vector, unsigned trigger) {
    require_open(vcpu);
    Message message;
    message.vector = static_cast<u8>(vector);
    message.trigger = trigger == 2 ? apic::Trigger::Level : trigger == 1 ? apic::Trigger::EdgeAutoEoi : apic::Trigger::Edge;
    local_of(vcpu.cpu).post(message);
}

}  // namespace

void bind_vcpu_apic(nb::class_<VcpuObject>& cls) {
    cls.def("read_apic", &read_apic)
        .def("write_apic", &write_apic)
        .def("apic_read", [](VcpuObject& v, u32 offset) { return local_of(idle(v)).read(offset); })
        .def("apic_write", &apic_write)
        .def("apic_post", &apic_post)
        .def("apic_controls", [](VcpuObject& v, u64 controls) { local_of(idle(v)).controls = controls; })
        .def("apic_trigger_timer", [](VcpuObject& v) { local_of(idle(v)).trigger_timer(); })
        .def("apic_ext_int", [](VcpuObject& v) { return local_of(idle(v)).queue_ext_int(); })
        .def("exit_notice", &exit_notice)
        .def_prop_ro("idle_ns", [](VcpuObject& v) { return idle(v).idle_ns(); });
}

}  // namespace binding
