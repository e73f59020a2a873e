#include "silicon/x86_64/cpuid.h"

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "silicon/clock.h"
#include "silicon/mem/guest_memory.h"

namespace silicon::x86 {
namespace {

struct FeatureBit {
    u32 leaf, subleaf, reg, bit;
    bool runs;       // we can: on this host
    bool announced;  // by default
};

bool host_bit(u32 leaf, u32 subleaf, u32 reg, u32 bit) {
#if defined(__x86_64__)
    unsigned said[4];
    return __get_cpuid_count(leaf, subleaf, &said[0], &said[1], &said[2], &said[3]) && said[reg] >> bit & 1;
#else
    return static_cast<void>(leaf), static_cast<void>(subleaf), static_cast<void>(reg), static_cast<void>(bit), false;
#endif
}

// Those whose instructions are the host's own run where the host has them.
FeatureBit feature_bit(u32 leaf, u32 subleaf, u32 reg, u32 bit, bool runs, bool announced, bool host) {
    const bool can = runs && (!host || host_bit(leaf, subleaf, reg, bit));
    return {leaf, subleaf, reg, bit, can, can && announced};
}
const FeatureBit feature_bits[] = {
#define FEATURE(name, leaf, subleaf, reg, bit, runs, announced, host) feature_bit(leaf, subleaf, reg, bit, runs, announced, host),
#include "features.inc"
#undef FEATURE
};

void put_text(u32* reg, const char* text, size_t bytes) { std::memcpy(reg, text, bytes); }

// Intel SDM vol. 2A, "CPUID—CPU Identification", table "Information Returned by CPUID Instruction".
std::vector<CpuidLeaf> default_leaves() {
    CpuidLeaf vendor{0, 0, {0x16, 0, 0, 0}};
    const char name[] = "GenuineIntel";
    std::memcpy(&vendor.reg[1], name, 4);
    std::memcpy(&vendor.reg[3], name + 4, 4);
    std::memcpy(&vendor.reg[2], name + 8, 4);
    // Family 6; one logical processor, CLFLUSH lines of 64 bytes.
    CpuidLeaf one{1, 0, {0x000306a9, 0x00010800, u32{1} << 31, 0}};
    one.reg[3] |= u32{1} << 3 | u32{1} << 6 | u32{1} << 13 | u32{1} << 16 | u32{1} << 17;  // PSE PAE PGE PAT PSE-36
    const CpuidLeaf monitor{5, 0, {64, 64, 1, 0}};  // lines of 64 bytes; extensions are told of, there are no states to choose
    CpuidLeaf seven{7, 0, {}};
    // Components of XSAVE: x87 and SSE, 512 bytes and the header.
    const CpuidLeaf components{0xd, 0, {3, 576, 576, 0}};
    const CpuidLeaf component_forms{0xd, 1, {0, 576, 0, 0}};
    const CpuidLeaf tsc{0x15, 0, {1, static_cast<u32>(Clock::tsc_hz / 25'000'000), 25'000'000, 0}};
    const CpuidLeaf frequency{0x16, 0, {static_cast<u32>(Clock::tsc_hz / 1'000'000), static_cast<u32>(Clock::tsc_hz / 1'000'000), 100, 0}};
    const CpuidLeaf extended{0x80000000, 0, {0x80000008, 0, 0, 0}};
    CpuidLeaf ext_features{0x80000001, 0, {0, 0, 0, 0}};
    ext_features.reg[3] |= u32{1} << 20 | u32{1} << 26 | u32{1} << 29;  // NX, 1 GiB pages, long mode
    CpuidLeaf brand[3] = {{0x80000002, 0, {}}, {0x80000003, 0, {}}, {0x80000004, 0, {}}};
    char text[48] = "pyhv software processor";
    for (size_t part = 0; part < 3; ++part) put_text(brand[part].reg, text + 16 * part, 16);
    const CpuidLeaf invariant{0x80000007, 0, {0, 0, 0, u32{1} << 8}};  // invariant TSC
    const CpuidLeaf addresses{0x80000008, 0, {GuestMemory::gpa_bits | 48 << 8, 0, 0, 0}};
    std::vector<CpuidLeaf> leaves{vendor, one, monitor, seven, components, component_forms, tsc, frequency, extended, ext_features,
                                  brand[0], brand[1], brand[2], invariant, addresses};
    for (const FeatureBit& f : feature_bits)
        for (CpuidLeaf& leaf : leaves)
            if (f.announced && f.leaf != 0 && leaf.leaf == f.leaf && leaf.subleaf == f.subleaf) leaf.reg[f.reg] |= u32{1} << f.bit;
    return leaves;
}

}  // namespace

bool host_has(Feature feature) {
    const FeatureBit& f = feature_bits[static_cast<size_t>(feature)];
    return f.leaf == 0 || host_bit(f.leaf, f.subleaf, f.reg, f.bit);
}

CpuidTable::CpuidTable() : CpuidTable(default_leaves()) {}

CpuidTable::CpuidTable(std::vector<CpuidLeaf> leaves) : leaves_(std::move(leaves)) { work_out_features(); }

const CpuidLeaf* CpuidTable::find(u32 leaf, u32 subleaf) const {
    for (const CpuidLeaf& l : leaves_)
        if (l.leaf == leaf && l.subleaf == subleaf) return &l;
    return nullptr;
}

CpuidLeaf CpuidTable::lookup(u32 leaf, u32 subleaf) const {
    if (const CpuidLeaf* found = find(leaf, subleaf)) return *found;
    bool has_subleaves = false;
    for (const CpuidLeaf& l : leaves_) has_subleaves |= l.leaf == leaf && l.subleaf != 0;
    if (const CpuidLeaf* found = find(leaf, 0); found && !has_subleaves && leaf != 7) return *found;
    const CpuidLeaf* base = find(leaf & 0x80000000, 0);
    const CpuidLeaf* basic = find(0, 0);
    if (base && leaf <= base->reg[0]) return CpuidLeaf{leaf, subleaf, {}};
    const CpuidLeaf* highest = basic ? find(basic->reg[0], 0) : nullptr;
    return highest ? *highest : CpuidLeaf{leaf, subleaf, {}};
}

// Which one of how many it is, the processor says by itself.
void CpuidTable::add_apic() {
    constexpr u32 apic = 1 << 9, x2apic = 1 << 21, tsc_deadline = 1 << 24, always_running_timer = 1 << 2;
    std::erase_if(leaves_, [](const CpuidLeaf& leaf) { return leaf.leaf == 6 || leaf.leaf == 0xb; });
    for (CpuidLeaf& leaf : leaves_)
        if (leaf.leaf == 1) leaf.reg[3] |= apic, leaf.reg[2] |= x2apic | tsc_deadline;
    leaves_.push_back({6, 0, {always_running_timer, 0, 0, 0}});
    leaves_.push_back({0xb, 0, {}});
    leaves_.push_back({0xb, 1, {}});
    work_out_features();
}

void CpuidTable::work_out_features() {
    size_t index = 0;
    for (const FeatureBit& f : feature_bits) {
        const CpuidLeaf* leaf = f.leaf ? find(f.leaf, f.subleaf) : nullptr;
        features_[index++] = f.leaf == 0 || (f.runs && leaf && (leaf->reg[f.reg] >> f.bit & 1));
    }
}

}  // namespace silicon::x86
