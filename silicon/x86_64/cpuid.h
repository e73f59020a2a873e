// What CPUID says: a table per vCPU, and the features that the decoder may use by it.
#pragma once

#include <bitset>
#include <vector>

#include "silicon/types.h"

namespace silicon::x86 {

enum class Feature : u8 {
#define FEATURE(name, leaf, subleaf, reg, bit, runs, announced, host) name,
#include "features.inc"
#undef FEATURE
    Count
};

// Whether this machine's own processor has it.
bool host_has(Feature feature);

struct CpuidLeaf {
    u32 leaf = 0, subleaf = 0;
    u32 reg[4] = {0, 0, 0, 0};  // eax, ebx, ecx, edx
};

class CpuidTable {
  public:
    CpuidTable();                              // announces exactly what the instruction table runs
    explicit CpuidTable(std::vector<CpuidLeaf> leaves);

    void add_apic();  // what a processor with a local APIC announces beside the rest
    // As CPUID answers: zeros for what is absent within a range, the highest basic leaf beyond it.
    CpuidLeaf lookup(u32 leaf, u32 subleaf) const;
    bool has(Feature feature) const { return features_[static_cast<size_t>(feature)]; }
    const std::vector<CpuidLeaf>& leaves() const { return leaves_; }

  private:
    void work_out_features();
    const CpuidLeaf* find(u32 leaf, u32 subleaf) const;

    std::vector<CpuidLeaf> leaves_;
    std::bitset<static_cast<size_t>(Feature::Count)> features_;
};

}  // namespace silicon::x86
