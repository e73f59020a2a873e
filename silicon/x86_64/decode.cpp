#include "silicon/x86_64/decode.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <atomic>

#include "silicon/x86_64/ops/table.h"
#include "silicon/x86_64/zydis_quirks.h"

namespace silicon::x86 {

#define FAMILY(name)              \
    extern const Op name##_ops[]; \
    extern const unsigned name##_op_count;
#include "ops_families.inc"
#undef FAMILY

namespace {

// All operand forms of all families, by key.
const std::vector<Op>& all_ops() {
    static const std::vector<Op>& sorted = *new std::vector<Op>([] {  // never destroyed: vCPUs may run while the process ends
        std::vector<Op> ops;
#define FAMILY(name) ops.insert(ops.end(), name##_ops, name##_ops + name##_op_count);
#include "ops_families.inc"
#undef FAMILY
        std::sort(ops.begin(), ops.end(), [](const Op& a, const Op& b) { return a.key < b.key; });
        return ops;
    }());
    return sorted;
}

// In the order of all_ops: whether any vCPU has decoded it since the last `take_decoded_forms`.
std::vector<std::atomic<bool>>& decoded_ops() {
    static std::vector<std::atomic<bool>> decoded(all_ops().size());
    return decoded;
}

const Op* find_op(u64 key) {
    const auto& ops = all_ops();
    const auto found = std::lower_bound(ops.begin(), ops.end(), key, [](const Op& op, u64 k) { return op.key < k; });
    return found != ops.end() && found->key == key ? &*found : nullptr;
}

unsigned size_code(unsigned bits) {
    switch (bits) {
        case 0: return 0;
        case 8: return 1;
        case 16: return 2;
        case 32: return 3;
        case 64: return 4;
        case 128: return 5;
        case 256: return 6;
        default: return 7;
    }
}

constexpr unsigned kind_xmm = 8, kind_mmx = 9, kind_x87 = 10;

unsigned register_kind(ZydisRegister reg) {
    switch (ZydisRegisterGetClass(reg)) {
        case ZYDIS_REGCLASS_GPR8:
        case ZYDIS_REGCLASS_GPR16:
        case ZYDIS_REGCLASS_GPR32:
        case ZYDIS_REGCLASS_GPR64: return 1;
        case ZYDIS_REGCLASS_SEGMENT: return 4;
        case ZYDIS_REGCLASS_CONTROL: return 5;
        case ZYDIS_REGCLASS_DEBUG: return 6;
        case ZYDIS_REGCLASS_XMM: return kind_xmm;
        case ZYDIS_REGCLASS_MMX: return kind_mmx;
        case ZYDIS_REGCLASS_X87: return kind_x87;
        default: return 0;
    }
}

u64 key_of(const ZydisDecodedOperand& operand) {
    switch (operand.type) {
        case ZYDIS_OPERAND_TYPE_REGISTER: {
            const unsigned kind = register_kind(operand.reg.value);
            return operand_key(kind, kind >= kind_xmm ? 0 : size_code(operand.size));
        }
        case ZYDIS_OPERAND_TYPE_MEMORY: return operand_key(2, size_code(operand.size));
        case ZYDIS_OPERAND_TYPE_IMMEDIATE: return operand_key(3, 0);
        case ZYDIS_OPERAND_TYPE_POINTER: return operand_key(7, size_code(operand.size));
        default: return 0;
    }
}

// Of the register operand: a byte offset into CpuState::gpr, or into FxState::xmm; of the others the number.
u8 register_place(ZydisRegister reg) {
    switch (ZydisRegisterGetClass(reg)) {
        case ZYDIS_REGCLASS_GPR8:
            if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) return u8((reg - ZYDIS_REGISTER_AH) * 8 + 1);
            if (reg < ZYDIS_REGISTER_AH) return u8((reg - ZYDIS_REGISTER_AL) * 8);
            return u8((reg - ZYDIS_REGISTER_SPL + 4) * 8);
        case ZYDIS_REGCLASS_GPR16: return u8((reg - ZYDIS_REGISTER_AX) * 8);
        case ZYDIS_REGCLASS_GPR32: return u8((reg - ZYDIS_REGISTER_EAX) * 8);
        case ZYDIS_REGCLASS_GPR64: return u8((reg - ZYDIS_REGISTER_RAX) * 8);
        case ZYDIS_REGCLASS_SEGMENT: return u8(reg - ZYDIS_REGISTER_ES);
        case ZYDIS_REGCLASS_CONTROL: return u8(reg - ZYDIS_REGISTER_CR0);
        case ZYDIS_REGCLASS_DEBUG: return u8(reg - ZYDIS_REGISTER_DR0);
        case ZYDIS_REGCLASS_XMM: return u8((reg - ZYDIS_REGISTER_XMM0) * 16);
        case ZYDIS_REGCLASS_MMX: return u8(reg - ZYDIS_REGISTER_MM0);
        case ZYDIS_REGCLASS_X87: return u8(reg - ZYDIS_REGISTER_ST0);
        default: return 0;
    }
}

u8 address_slot(ZydisRegister reg) {
    if (reg == ZYDIS_REGISTER_NONE) return slot_zero;
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) return slot_block_rip;
    return register_place(reg) / 8;
}

Seg segment_of(ZydisRegister reg) { return reg == ZYDIS_REGISTER_NONE ? Seg::Ds : static_cast<Seg>(reg - ZYDIS_REGISTER_ES); }

Addressing addressing_of(const Insn& in, u32 mode) {
    const bool based = in.seg == Seg::Fs || in.seg == Seg::Gs;
    if (based || in.address_bytes == 2) return Addressing::General;
    if (mode & mode::long64) return in.address_bytes == 8 ? Addressing::Flat64 : Addressing::Flat32;
    return mode & mode::flat && in.seg != Seg::Cs ? Addressing::Flat32 : Addressing::General;
}

void set_memory(Insn& in, const ZydisDecodedInstruction& insn, ZydisDecodedOperand operand, u32 mode) {
    forget_wrong_base(insn, operand);
    const auto& mem = operand.mem;
    in.base = address_slot(mem.base);
    in.index = address_slot(mem.index);
    in.scale = mem.scale > 4 ? 3 : mem.scale > 2 ? 2 : mem.scale > 1 ? 1 : 0;
    in.seg = segment_of(mem.segment);
    const bool notrack = insn.attributes & ZYDIS_ATTRIB_HAS_NOTRACK;  // 3E before an indirect branch is DS as well
    if (notrack && !(mode & mode::long64)) in.seg = Seg::Ds;
    in.disp = static_cast<i32>(mem.disp.value);
    in.addressing = addressing_of(in, mode);
    if (mem.disp.value != in.disp && in.base == slot_zero && in.index == slot_zero) {  // MOV with a 64-bit offset: the only such form, it has no register in it
        in.imm = mem.disp.value;
        in.addressing = Addressing::Offset64;
    }
}

void set_operands(Insn& in, const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands, u32 mode) {
    unsigned immediates = 0;
    for (unsigned n = 0; n < insn.operand_count_visible; ++n) {
        const ZydisDecodedOperand& operand = operands[n];
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER && n < 3) in.reg[n] = register_place(operand.reg.value);
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) set_memory(in, insn, operand, mode);
        if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            if (immediates++ == 0)
                in.imm = operand.imm.value.s;
            else
                in.disp = static_cast<i32>(operand.imm.value.s);
        }
        if (operand.type == ZYDIS_OPERAND_TYPE_POINTER) {
            in.imm = operand.ptr.offset;
            in.disp = operand.ptr.segment;
        }
    }
}

// The segment of string instructions and XLAT, whose memory operands are not visible.
Seg overridden(const ZydisDecodedInstruction& insn) {
    if (insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS) return Seg::Cs;
    if (insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS) return Seg::Ss;
    if (insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES) return Seg::Es;
    if (insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS) return Seg::Fs;
    if (insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS) return Seg::Gs;
    return Seg::Ds;
}

// In the place of an instruction whose unit is off. Intel SDM vol. 3, "Device-Not-Available Exception (#NM)".
Outcome unit_is_off(Cpu& cpu, Unit unit) {
    const bool emulated = cpu.cr0 & cr0::em;
    if (unit == Unit::Sse && (emulated || !(cpu.cr4 & cr4::osfxsr))) return cpu.raise(vector_ud);
    return cpu.raise(unit == Unit::Mmx && emulated ? vector_ud : vector_nm);
}
template <Unit Which>
Outcome off(Cpu& cpu, const Insn&) {
    return unit_is_off(cpu, Which);
}

Handler handler_of(const Op& op, u32 mode) {
    switch (op.row->unit) {
        case Unit::X87: return mode & mode::no_x87 ? &going<&off<Unit::X87>> : op.handler;
        case Unit::Mmx: return mode & mode::no_x87 ? &going<&off<Unit::Mmx>> : op.handler;
        case Unit::Sse: return mode & mode::no_sse ? &going<&off<Unit::Sse>> : op.handler;
        default: return op.handler;
    }
}

// Intel SDM vol. 1, "Last Instruction Opcode".
u16 x87_opcode(const ZydisDecodedInstruction& insn) {
    const auto& modrm = insn.raw.modrm;
    return u16((insn.opcode & 7) << 8 | modrm.mod << 6 | modrm.reg << 3 | modrm.rm);
}

const Op* match(const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands) {
    u64 keys[4] = {0, 0, 0, 0};
    for (unsigned n = 0; n < std::min<unsigned>(insn.operand_count_visible, 4); ++n) keys[n] = key_of(operands[n]);
    const bool far_pointer = insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR && operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    if (far_pointer) keys[0] = operand_key(2, 7);  // m16:16 is as wide as a near m32
    const bool far_return = insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR && insn.mnemonic == ZYDIS_MNEMONIC_RET;
    if (far_return) keys[insn.operand_count_visible] = operand_key(7, 7);  // it has the near one's operands
    const unsigned lock = insn.attributes & ZYDIS_ATTRIB_HAS_LOCK ? 1 : 0;
    const unsigned rep = insn.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE) ? 1
                         : insn.attributes & ZYDIS_ATTRIB_HAS_REPNE                       ? 2
                                                                                          : 0;
    for (const unsigned width : {0u, size_code(insn.operand_width)})
        if (const Op* op = find_op(op_key(insn.mnemonic, width, lock, rep, keys[0], keys[1], keys[2], keys[3]))) return op;
    return nullptr;
}

}  // namespace

struct Decoder::Modes {
    ZydisDecoder long64, long32, long16, legacy32, legacy16, real16;

    Modes() {
        ZydisDecoderInit(&long64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        ZydisDecoderInit(&legacy32, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
        ZydisDecoderInit(&legacy16, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
        ZydisDecoderInit(&real16, ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16);
    }
    const ZydisDecoder& of(u32 mode) const {
        if (mode & mode::long64) return long64;
        if (!(mode & mode::protected_)) return mode & mode::code32 ? legacy32 : real16;
        return mode & mode::code32 ? legacy32 : legacy16;
    }
};

// The table is sorted now, not at the first instruction: a thread that runs may not be the one that a fork() copies, and
// the copy would wait for ever for it to finish.
Decoder::Decoder() : modes_(std::make_unique<Modes>()) { decoded_ops(); }
Decoder::~Decoder() = default;

// F3 REX.B 90 exchanges R8 and the accumulator; Zydis 4.0 calls it PAUSE. Another prefix in the place of F3 makes it plain.
static bool is_exchange_with_r8(const ZydisDecodedInstruction& insn) { return insn.mnemonic == ZYDIS_MNEMONIC_PAUSE && insn.raw.rex.B; }

DecodeStatus Decoder::decode(const CpuidTable& cpuid, const u8* bytes, size_t size, u32 mode, Insn& in, const Row*& row) const {
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    const ZyanStatus status = ZydisDecoderDecodeFull(&modes_->of(mode), bytes, size, &insn, operands);
    if (status == ZYDIS_STATUS_NO_MORE_DATA) return size >= max_bytes ? DecodeStatus::TooLong : DecodeStatus::Truncated;
    if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) return DecodeStatus::TooLong;
    if (!ZYAN_SUCCESS(status)) return DecodeStatus::Undefined;
    if (is_exchange_with_r8(insn)) {
        u8 plain[max_bytes];
        std::copy_n(bytes, insn.length, plain);
        std::replace(plain, plain + insn.raw.rex.offset, u8{0xf3}, u8{0x3e});
        return decode(cpuid, plain, insn.length, mode, in, row);
    }
    const Op* op = match(insn, operands);
    if (!op || !cpuid.has(op->row->feature)) return DecodeStatus::Undefined;
    const bool only = op->row->only_mode == 0 || (op->row->only_mode == 64) == ((mode & mode::long64) != 0);
    if (!only) return DecodeStatus::Undefined;
    in = Insn{};
    in.handler = handler_of(*op, mode);
    in.length = insn.length;
    in.address_bytes = insn.address_width / 8;
    in.seg = overridden(insn);
    in.addressing = addressing_of(in, mode);
    set_operands(in, insn, operands, mode);
    if (op->row->unit == Unit::X87) in.imm = x87_opcode(insn);
    row = op->row;
    std::atomic<bool>& decoded = decoded_ops()[static_cast<size_t>(op - all_ops().data())];
    if (!decoded.load(std::memory_order_relaxed)) decoded.store(true, std::memory_order_relaxed);
    return DecodeStatus::Done;
}

std::vector<DecodedForm> take_decoded_forms() {
    std::vector<DecodedForm> forms;
    const auto& ops = all_ops();
    for (size_t n = 0; n < ops.size(); ++n)
        if (decoded_ops()[n].exchange(false, std::memory_order_relaxed))
            forms.push_back({ZydisMnemonicGetString(static_cast<ZydisMnemonic>(ops[n].key >> 48)), ops[n].row});
    return forms;
}

}  // namespace silicon::x86
