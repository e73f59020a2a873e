#include "silicon/oracle/program.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "silicon/oracle/rng.h"
#include "silicon/oracle/vectors.h"
#include "silicon/x86_64/zydis_quirks.h"

namespace silicon::oracle {

bool Program::patch(u64 address, u64 value) {
    if (address < data_at || address > data_at + data_bytes - 8) return false;
    if (!is_writable_page((address - data_at) / page_bytes) || !is_writable_page((address + 7 - data_at) / page_bytes))
        return false;
    for (Change& place : patches)
        if (!place.address || place.address == address) return place = {address, value}, true;
    return false;
}

unsigned Program::code_length() const {
    unsigned length = 0;
    for (const Step& step : steps) length += step.length;
    return length;
}

u64 Program::step_address(unsigned n) const {
    u64 at = before.rip;
    for (unsigned i = 0; i < n; ++i) at += steps[i].length;
    return at;
}

int Program::step_at(u64 rip) const {
    u64 at = before.rip;
    for (size_t n = 0; n <= steps.size(); ++n) {
        if (at == rip) return int(n);
        if (n < steps.size()) at += steps[n].length;
    }
    return -1;
}

bool Program::has_branch() const {
    for (const Step& step : steps)
        if (step.branch_bytes) return true;
    return false;
}

// With a branch (RET may go back) nobody knows what was executed: flags that anything leaves undefined are so
// everywhere.
bool Program::work_out_ignored() {
    const bool straight = std::none_of(steps.begin(), steps.end(), [](const Step& step) { return step.branches; });
    u64 undefined = 0;
    if (!straight)
        for (const Step& step : steps) undefined |= step.undefined;
    ignored.clear();
    for (const Step& step : steps) {
        ignored.push_back(undefined);
        if (step.reads & undefined) return false;
        if (straight) undefined &= ~step.defines;
        undefined |= step.undefined;
    }
    ignored.push_back(undefined);
    return true;
}

namespace {

// 16-bit code leaves by a far jump to 64-bit code.
void write_jump(u8* to, u64 from, unsigned bits) {
    if (bits == 16) {
        const u32 target = end_at;
        const u8 far_jump[] = {0x66, 0xea, u8(target), u8(target >> 8), u8(target >> 16), u8(target >> 24), 0x33, 0x00};
        std::memcpy(to, far_jump, sizeof far_jump);
        return;
    }
    to[0] = 0xe9;
    const u32 distance = u32(end_for(bits) - (from + 5));
    std::memcpy(to + 1, &distance, 4);
}

}  // namespace

std::vector<u8> code_of(const Program& program) {
    std::vector<u8> code;
    for (size_t n = 0; n < program.steps.size(); ++n) {
        const Step& step = program.steps[n];
        code.insert(code.end(), step.bytes, step.bytes + step.length);
        if (!step.branch_bytes) continue;
        u32 distance = 0;
        for (size_t i = n + 1; i < program.steps.size() && i <= n + step.skip; ++i) distance += program.steps[i].length;
        std::memcpy(code.data() + code.size() - step.branch_bytes, &distance, step.branch_bytes);
    }
    return code;
}

void write_code(const Program& program, u8* code_area) {
    const std::vector<u8> code = code_of(program);
    const u64 at = program.before.rip, end = at + code.size();
    std::memcpy(code_area + (at - code_at), code.data(), std::min(code.size(), size_t(code_at + code_bytes - at)));
    if (!program.at_edge) write_jump(code_area + (end - code_at), end, program.bits);
}

void write_way_out(unsigned slot, unsigned bits, u8* code_area) {
    const u64 at = way_out(slot);
    write_jump(code_area + (at - code_at), at, bits);
}

// Eight bytes of lanes, or sixteen with a long double. What it wrote beyond the first eight.
static size_t put_vector(Rng& rng, u8* to, size_t room) {
    if (room >= 16 && rng.chance(20)) {
        std::memset(to, 0, 16);
        random_float80(rng, to);
        return 8;
    }
    const u64 lanes = random_lanes(rng);
    std::memcpy(to, &lanes, 8);
    return 0;
}

// Words that make carries, signs, zeros and pointers likely, and what floating point and SIMD make of.
void make_pattern(u64 seed, Pattern& pattern) {
    Rng rng(seed);
    const bool with_vectors = seed & pattern_with_vectors;
    const u64 edges[] = {0,    0,           ~u64{0}, 1, u64{1} << 63, 0x7fff'ffff'ffff'ffff, 0x8000'0000'8000'0000,
                         0x80, 0xffff'ffff, 0x8000};
    for (size_t at = 0; at < pattern.size(); at += 8) {
        u64 word = rng.next();
        const u64 kind = rng.below(10);
        if (kind < 4) word = rng.pick(edges);
        else if (kind < 6) word &= 0x7f;
        else if (kind < 7) word = data_at + (word & 0x3fff);
        std::memcpy(pattern.data() + at, &word, 8);
        if (with_vectors && rng.chance(60)) at += put_vector(rng, pattern.data() + at, pattern.size() - at);
    }
}

std::string hex_bytes(const u8* bytes, size_t count) {
    std::string text;
    char pair[4];
    for (size_t n = 0; n < count; ++n) {
        std::snprintf(pair, sizeof pair, "%s%02x", n ? " " : "", bytes[n]);
        text += pair;
    }
    return text;
}

Decoded decode(const u8* bytes, size_t size, unsigned bits) {
    static ZydisDecoder decoders[3];
    static const bool ready = [] {
        ZydisDecoderInit(&decoders[0], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        ZydisDecoderInit(&decoders[1], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
        ZydisDecoderInit(&decoders[2], ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
        return true;
    }();
    (void)ready;
    Decoded d;
    d.status = ZydisDecoderDecodeFull(&decoders[bits == 64 ? 0 : bits == 32 ? 1 : 2], bytes, size, &d.insn, d.operands);
    if (d.ok())
        for (unsigned n = 0; n < d.insn.operand_count; ++n) x86::forget_wrong_base(d.insn, d.operands[n]);
    return d;
}

std::string disassemble(const Step& step, unsigned bits, u64 address) {
    const Decoded d = decode(step.bytes, step.length, bits);
    if (!d.ok()) return "(invalid)";
    static ZydisFormatter formatter;
    static const bool ready = ZYAN_SUCCESS(ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL));
    (void)ready;
    char text[128];
    ZydisFormatterFormatInstruction(&formatter, &d.insn, d.operands, d.insn.operand_count_visible, text, sizeof text,
                                    address, nullptr);
    if (!step.branch_bytes) return text;
    return std::string(text) + "  (over " + std::to_string(step.skip) + ")";
}

}  // namespace silicon::oracle
