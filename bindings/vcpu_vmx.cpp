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

// All of it as an image of records, for a saved state.
enum class Grant : u32 { ShadowValue, ShadowAccess, NativeMsr, ManagedMsr };
struct GrantRecord {
    Grant kind;
    u32 number;
    u64 value;
};
static_assert(sizeof(GrantRecord) == 16);

nb::bytes read_granted(VcpuObject& vcpu) {
    const Cpu& cpu = idle(vcpu);
    const ShadowVmcs& shadow = cpu.vmcs.shadow;
    std::vector<GrantRecord> records;
    for (const auto& [field, value] : shadow.values()) records.push_back({Grant::ShadowValue, field, value});
    std::map<u32, u64> access;
    for (const u32 field : shadow.readable()) access[field] |= may_read;
    for (const u32 field : shadow.writable()) access[field] |= may_write;
    for (const auto& [field, flags] : access) records.push_back({Grant::ShadowAccess, field, flags});
    for (const u32 msr : cpu.native_msrs) records.push_back({Grant::NativeMsr, msr, 0});
    for (const auto& [msr, flags] : cpu.managed_msrs) records.push_back({Grant::ManagedMsr, msr, flags});
    return nb::bytes(records.data(), records.size() * sizeof(GrantRecord));
}

// False: no such record.
bool take(const GrantRecord& record, ShadowVmcs& shadow, std::set<u32>& native, std::map<u32, u8>& managed) {
    const bool is_access = record.value <= (may_read | may_write);
    switch (record.kind) {
        case Grant::ShadowValue: return shadow.write(record.number, record.value), true;
        case Grant::ShadowAccess: return shadow.grant(record.number, record.value & may_read, record.value & may_write), is_access;
        case Grant::NativeMsr: return native.insert(record.number), record.value == 0;
        case Grant::ManagedMsr: return managed[record.number] = u8(record.value), is_access;
    }
    return false;
}

void write_granted(VcpuObject& vcpu, const nb::bytes& image) {
    Cpu& cpu = idle(vcpu);
    ShadowVmcs shadow;
    std::set<u32> native;
    std::map<u32, u8> managed;
    bool good = image.size() % sizeof(GrantRecord) == 0;
    for (size_t at = 0; good && at < image.size(); at += sizeof(GrantRecord)) {
        GrantRecord record;
        std::memcpy(&record, image.c_str() + at, sizeof record);
        u64 ignored = 0;
        const bool is_msr = record.kind == Grant::NativeMsr || record.kind == Grant::ManagedMsr;
        good = take(record, shadow, native, managed) && (!is_msr || cpu.read_msr(record.number, ignored));
    }
    if (!good) raise_error("BadArgument", "these bytes are not what a shadow VMCS, native and managed MSRs are kept as");
    cpu.vmcs.shadow = std::move(shadow);
    cpu.native_msrs = std::move(native);
    cpu.managed_msrs = std::move(managed);
}

// What ended a run that was not this CPU's: another one runs the guest, and this one is its VMCS.
void note_exit(VcpuObject& vcpu, u32 reason) {
    ExitRecord& exit = idle(vcpu).exit;
    exit.clear();
    exit.reason = static_cast<Reason>(reason);
}

}  // namespace

void bind_vcpu_vmx(nb::class_<VcpuObject>& cls) {
    cls.def("read_shadow_vmcs", [](VcpuObject& v, u32 field) { return idle(v).vmcs.shadow.read(field); })
        .def("write_shadow_vmcs", [](VcpuObject& v, u32 field, u64 value) { idle(v).vmcs.shadow.write(field, value); })
        .def("set_shadow_access", &set_shadow_access)
        .def("note_exit", &note_exit, nb::arg("reason"), "An exit with a reason and nothing else, for engines that only keep a VMCS here.")
        .def("bind_msr", &bind_msr)
        .def("set_msr_access", &set_msr_access)
        .def("read_granted", &read_granted)
        .def("write_granted", &write_granted);
}

}  // namespace binding
