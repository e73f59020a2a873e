// The VMCS that a guest's VMREAD and VMWRITE reach without an exit. Intel SDM vol. 3, "Shadow VMCS" and "VMCS Shadowing".
#pragma once

#include <map>
#include <set>

#include "silicon/types.h"

namespace silicon::x86 {

// By field encoding; bit 0 of one says the high half of a 64-bit field.
class ShadowVmcs {
  public:
    u64 read(u32 encoding) const {
        const auto found = values_.find(encoding & ~high_half);
        const u64 value = found == values_.end() ? 0 : found->second;
        return encoding & high_half ? value >> 32 : value;
    }
    // Bits beyond the field's width are dropped.
    void write(u32 encoding, u64 value) {
        u64& kept = values_[encoding & ~high_half];
        kept = encoding & high_half ? u64{u32(kept)} | value << 32 : value & width_mask(encoding);
    }
    void grant(u32 encoding, bool read, bool write) {
        read ? void(readable_.insert(encoding)) : void(readable_.erase(encoding));
        write ? void(writable_.insert(encoding)) : void(writable_.erase(encoding));
    }
    // What the VMREAD and VMWRITE bitmaps of a processor say: an encoding beyond them exits.
    bool grants(u64 encoding, bool write) const {
        return encoding <= last_encoding && (write ? writable_ : readable_).contains(u32(encoding));
    }
    // What was written, whole fields by their encoding, and what was granted.
    const std::map<u32, u64>& values() const { return values_; }
    const std::set<u32>& readable() const { return readable_; }
    const std::set<u32>& writable() const { return writable_; }

  private:
    static constexpr u32 high_half = 1, last_encoding = 0x7fff;
    // Intel SDM vol. 3, "Encodings of VMCS Fields": 16 bits, 64, 32, natural.
    static constexpr u64 width_mask(u32 encoding) {
        const u32 width = encoding >> 13 & 3;
        return width == 0 ? 0xffff : width == 2 ? 0xffffffff : ~u64{0};
    }
    std::map<u32, u64> values_;
    std::set<u32> readable_, writable_;
};

}  // namespace silicon::x86
