// A vCPU's state by the doors that a saved state goes through (src/pyhv/_core/state.py), and two of them held together.
#include <algorithm>
#include <cstdio>
#include <string>

#include "silicon/fuzz/guest.h"

namespace silicon::fuzz {
namespace {

using namespace x86;

// VMCS fields first, EFER among them, then registers, then MSRs: the order in which a state is set.
constexpr u32 vmcs_fields[] = {
    0x2806, 0x2802, 0x2804, 0x4824, 0x4826, 0x482a, 0x6824, 0x6826, 0x6822, 0x4016, 0x4018, 0x401a,
    0x4810, 0x4812, 0x6816, 0x6818, 0x0800, 0x0802, 0x0804, 0x0806, 0x0808, 0x080a, 0x080c, 0x080e,
    0x4800, 0x4802, 0x4804, 0x4806, 0x4808, 0x480a, 0x480c, 0x480e, 0x4814, 0x4816, 0x4818, 0x481a,
    0x481c, 0x481e, 0x4820, 0x4822, 0x6806, 0x6808, 0x680a, 0x680c, 0x680e, 0x6810, 0x6812, 0x6814,
};
constexpr unsigned first_control = 36, last_control = 40, register_count = 51;  // CR0 to CR4 among the registers
constexpr u32 msrs[] = {0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102, 0xc0000103, 0x1b, 0x1a0};

constexpr u32 pdptes[] = {0x280a, 0x280c, 0x280e, 0x2810};  // behind the control registers, whose writes load them

template <class Visit>
void each_register(Visit visit) {
    for (unsigned reg = first_control; reg <= last_control; ++reg) visit(reg);
    for (unsigned reg = 0; reg < register_count; ++reg)
        if (reg < first_control || reg > last_control) visit(reg);
}

}  // namespace

void copy_state(const Cpu& from, Cpu& to) {
    u64 value = 0;
    for (const u32 field : vmcs_fields)
        if (from.read_vmcs(field, value)) to.write_vmcs(field, value);
    each_register([&](unsigned reg) {
        if (from.read_register(reg, value)) to.write_register(reg, value);
    });
    for (const u32 field : pdptes)
        if (from.read_vmcs(field, value)) to.write_vmcs(field, value);
    for (const u32 msr : msrs) to.plain_msrs[msr] = from.plain_msrs.at(msr);
    to.state_changed();
    const std::vector<u8> vectors = from.xsave_image();
    to.set_xsave_image(vectors.data(), vectors.size());
    const std::vector<u8> unfinished = from.unfinished();
    to.resume(unfinished.data(), unfinished.size());
}

std::vector<u64> values_of(const Cpu& cpu) {
    std::vector<u64> values;
    u64 value = 0;
    for (const u32 field : vmcs_fields) values.push_back(cpu.read_vmcs(field, value) ? value : 0);
    // RF between two iterations of a REP depends on how many of them were made at once.
    each_register([&](unsigned reg) {
        values.push_back(cpu.read_register(reg, value) ? value & ~(reg == 1 ? flag::rf : 0) : 0);
    });
    for (const u32 msr : msrs) values.push_back(cpu.plain_msrs.at(msr));
    const std::vector<u8> vectors = cpu.xsave_image();
    for (size_t n = 0; n + sizeof value <= vectors.size(); n += sizeof value)
        values.push_back(load_host<u64>(vectors.data() + n));
    for (const u32 field : pdptes) values.push_back(cpu.read_vmcs(field, value) ? value : 0);
    for (const u8 byte : cpu.unfinished()) values.push_back(byte);
    return values;
}

std::string difference(const std::vector<u64>& a, const std::vector<u64>& b) {
    std::vector<std::string> names;
    char name[48];
    const auto add = [&](const char* what, u64 number) {
        std::snprintf(name, sizeof name, "%s %#llx", what, static_cast<unsigned long long>(number));
        names.push_back(name);
    };
    for (const u32 field : vmcs_fields) add("VMCS field", field);
    each_register([&](unsigned reg) { add("register", reg); });
    for (const u32 msr : msrs) add("MSR", msr);
    for (size_t n = 0; n + 8 <= xsave_bytes; n += 8) add("XSAVE byte", n);
    for (const u32 field : pdptes) add("VMCS field", field);
    std::string said;
    for (size_t n = 0; n < std::max(a.size(), b.size()); ++n) {
        if (n < a.size() && n < b.size() && a[n] == b[n]) continue;
        if (n >= a.size() || n >= b.size() || n >= names.size())
            return said + (said.empty() ? "" : ", ") + "the unfinished instruction";
        char line[128];
        std::snprintf(line, sizeof line, "%s%s: %#llx and %#llx", said.empty() ? "" : ", ", names[n].c_str(),
                      static_cast<unsigned long long>(a[n]), static_cast<unsigned long long>(b[n]));
        said += line;
    }
    return said;
}

}  // namespace silicon::fuzz
