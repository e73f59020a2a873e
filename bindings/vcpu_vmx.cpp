// What Apple's functions give a guest to reach without an exit: the shadow VMCS, managed MSRs.
#include "bindings/vcpu.h"

namespace binding {
namespace {

using namespace silicon;
using namespace silicon::x86;

constexpr unsigned may_read = 1, may_write = 2;

void set_shadow_access(VcpuObject& vcpu, u32 field, unsigned flags) {
    idle(vcpu).vmcs.shadow.grant(field, flags & may_read, flags & may_write);
}

void bind_msr(VcpuObject& vcpu, u32 msr, bool bound) {
    Cpu& cpu = idle(vcpu);
    u64 ignored = 0;
    if (!cpu.read_msr(msr, ignored)) throw nb::key_error("no such MSR");
    if (bound)
        cpu.managed_msrs.try_emplace(msr, u8{0});
    else
        cpu.managed_msrs.erase(msr);
}

void set_msr_access(VcpuObject& vcpu, u32 msr, unsigned flags) {
    auto& managed = idle(vcpu).managed_msrs;
    const auto found = managed.find(msr);
    if (found == managed.end()) throw nb::key_error("the MSR is not bound");
    found->second = u8(flags & (may_read | may_write));
}

}  // namespace

void bind_vcpu_vmx(nb::class_<VcpuObject>& cls) {
    cls.def("read_shadow_vmcs", [](VcpuObject& v, u32 field) { return idle(v).vmcs.shadow.read(field); })
        .def("write_shadow_vmcs", [](VcpuObject& v, u32 field, u64 value) { idle(v).vmcs.shadow.write(field, value); })
        .def("set_shadow_access", &set_shadow_access)
        .def("bind_msr", &bind_msr)
        .def("set_msr_access", &set_msr_access);
}

}  // namespace binding
