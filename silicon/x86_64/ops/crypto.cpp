// CRC32, AES, carry-less multiplication, SHA. Rows: spec/x86_64/crypto.toml.
#include "silicon/x86_64/ops/lanes.h"

namespace silicon::x86 {
namespace {

#include "host_crypto.inc"

// Intel SDM vol. 2, "CRC32—Accumulate CRC32 Value".
template <class T>
SILICON_INLINE u32 crc32c(u32 crc, [[maybe_unused]] T data) {
    if constexpr (sizeof(T) == 8) {
        u64 wide = crc;
        SILICON_HOST_ASM("crc32q %1, %0" : "+r"(wide) : "rm"(data));
        return u32(wide);
    } else {
        if constexpr (sizeof(T) == 1) { SILICON_HOST_ASM("crc32b %1, %0" : "+r"(crc) : "rm"(data)); }
        if constexpr (sizeof(T) == 2) { SILICON_HOST_ASM("crc32w %1, %0" : "+r"(crc) : "rm"(data)); }
        if constexpr (sizeof(T) == 4) { SILICON_HOST_ASM("crc32l %1, %0" : "+r"(crc) : "rm"(data)); }
        return crc;
    }
}

// The sum is of 32 bits in a register of 64 too.
template <class Dst, class Src>
SILICON_INLINE Outcome accumulate_crc(Cpu& cpu, const Insn& in) {
    const auto data = Src::load(cpu, in);
    if (!data.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, crc32c(u32(Dst::load(cpu, in).value), data.value));
}

// The round constant is put in by XOR, into the doublewords 1 and 3. Intel SDM vol. 2, "AESKEYGENASSIST".
template <class Host, class Dst, class Src, class Imm>
SILICON_INLINE Outcome assist_key(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const u64 constant = u64{u8(in.imm)} << 32;
    return Dst::store(cpu, in, Host::template run<0>(b.value) ^ Vec{constant, constant});
}

// Bits 0 and 4 of the immediate choose a quadword of each operand. Intel SDM vol. 2, "PCLMULQDQ".
template <class Host, class Dst, class Src, class Imm>
SILICON_INLINE Outcome multiply_carryless(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const Vec a = Dst::load(cpu, in).value;
    return Dst::store(cpu, in, Host::template run<0>(widened(a[in.imm & 1]), widened(b.value[in.imm >> 4 & 1])));
}

}  // namespace

#include "ops_crypto.inc"

}  // namespace silicon::x86
