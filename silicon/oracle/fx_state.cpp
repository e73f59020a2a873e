#include "silicon/oracle/fx_state.h"

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace silicon::oracle {

using x86::FxState;

namespace {

// A part of the state: where it lies in the FXSAVE image. Intel SDM vol. 2A, "FXSAVE—Save x87 FPU, MMX Technology, and
// SSE State".
struct Part {
    const char* name;
    unsigned at, size;
};

constexpr Part words[] = {
    {"fcw", offsetof(FxState, fcw), 2}, {"fsw", offsetof(FxState, fsw), 2}, {"ftw", offsetof(FxState, ftw), 1},
    {"fop", offsetof(FxState, fop), 2}, {"fip", offsetof(FxState, fip), 8}, {"fdp", offsetof(FxState, fdp), 8},
    {"mxcsr", offsetof(FxState, mxcsr), 4},
};
constexpr unsigned word_count = sizeof words / sizeof words[0], part_count = word_count + 8 + 16;

std::string part_name(unsigned n) {
    if (n < word_count) return words[n].name;
    n -= word_count;
    return n < 8 ? "st" + std::to_string(n) : "xmm" + std::to_string(n - 8);
}

Part part(unsigned n) {
    if (n < word_count) return words[n];
    n -= word_count;
    if (n < 8) return {"st", unsigned(offsetof(FxState, st)) + 16 * n, 10};
    return {"xmm", unsigned(offsetof(FxState, xmm)) + 16 * (n - 8), 16};
}

const u8* bytes_of(const FxState& fx, const Part& p) { return reinterpret_cast<const u8*>(&fx) + p.at; }
u8* bytes_of(FxState& fx, const Part& p) { return reinterpret_cast<u8*>(&fx) + p.at; }

// A number, most significant digit first: registers of 80 and 128 bits do not fit a word.
std::string number_text(const FxState& fx, const Part& p) {
    std::string text = "0x";
    char digits[4];
    for (unsigned n = p.size; n-- > 0;) {
        std::snprintf(digits, sizeof digits, "%02x", bytes_of(fx, p)[n]);
        text += digits;
    }
    return text;
}

void read_number(const std::string& text, FxState& fx, const Part& p) {
    const size_t digits = text.size() - 2;
    if (!text.starts_with("0x") || digits == 0 || digits > 2 * p.size ||
        text.find_first_not_of("0123456789abcdef", 2) != std::string::npos)
        throw std::logic_error(text);
    u8* to = bytes_of(fx, p);
    std::memset(to, 0, p.size);
    for (size_t n = 0; n < digits; ++n) {
        const char c = text[text.size() - 1 - n];
        to[n / 2] |= u8((c <= '9' ? c - '0' : c - 'a' + 10) << (n % 2 * 4));
    }
}

// What this processor keeps of the last x87 instruction's place: FXRSTOR and FXSAVE of AMD's processors before "XSAVE
// always saves error pointers" do not when no exception is pending.
struct Kept {
    bool opcode, pointers;
};

Kept kept_by_host() {
#if defined(__x86_64__)
    alignas(16) FxState own{}, given{}, got{};
    given.fop = 0x123, given.fip = code_at + 1, given.fdp = data_at + 1;
    asm volatile("fxsave64 %0; fxrstor64 %2; fxsave64 %1; fxrstor64 %0" : "+m"(own), "=m"(got) : "m"(given));
    return {got.fop == given.fop, got.fip == given.fip && got.fdp == given.fdp};
#else
    return {false, false};
#endif
}

const Kept& kept() {
    static const Kept found = kept_by_host();
    return found;
}

bool is_compared(const char* name) {
    if (!std::strcmp(name, "fop")) return kept().opcode;
    if (!std::strcmp(name, "fip") || !std::strcmp(name, "fdp")) return kept().pointers;
    return true;
}

std::string modes_text(const std::string& name, u64 value) {
    static constexpr const char* exceptions[] = {"IE", "DE", "ZE", "OE", "UE", "PE"};
    static constexpr const char* roundings[] = {"nearest", "down", "up", "chop"};
    std::string text;
    const auto list = [&](const char* what, u64 bits) {
        if (!bits) return;
        text += what;
        for (unsigned n = 0; n < 6; ++n)
            if (bits >> n & 1) text += std::string(" ") + exceptions[n];
    };
    if (name == "mxcsr") {
        list(" flags", value & 0x3f);
        list(" unmasked", ~(value >> 7) & 0x3f);
        text += std::string(" round ") + roundings[value >> 13 & 3];
        text += std::string(value & 0x40 ? " DAZ" : "") + (value & 0x8000 ? " FTZ" : "");
    } else if (name == "fcw") {
        list(" unmasked", ~value & 0x3f);
        text += std::string(" round ") + roundings[value >> 10 & 3];
        text += value & 0x200 ? value & 0x100 ? " 64 bits" : " 53 bits" : " 24 bits";
    } else if (name == "fsw") {
        list(" flags", value & 0x3f);
        text += std::string(value & 0x40 ? " SF" : "") + (value & 0x80 ? " ES" : "") + " top " +
                std::to_string(value >> 11 & 7);
        for (const unsigned bit : {8u, 9u, 10u, 14u})
            if (value >> bit & 1) text += " C" + std::to_string(bit == 14 ? 3 : bit - 8);
    }
    return text;
}

std::string readable(const std::string& name, const FxState& fx, const Part& p) {
    u64 value = 0;
    std::memcpy(&value, bytes_of(fx, p), p.size < 8 ? p.size : 8);
    if (p.size < 8) return modes_text(name, value);
    char text[160] = "";
#if defined(__x86_64__)
    if (p.size == 10) {
        long double number = 0;
        std::memcpy(&number, bytes_of(fx, p), 10);
        std::snprintf(text, sizeof text, "  %.20Lg", number);
    }
#endif
    if (p.size == 16) {
        double d[2];
        float f[4];
        std::memcpy(d, bytes_of(fx, p), 16);
        std::memcpy(f, bytes_of(fx, p), 16);
        std::snprintf(text, sizeof text, "  pd %.9g %.9g  ps %.5g %.5g %.5g %.5g", d[0], d[1], double(f[0]),
                      double(f[1]), double(f[2]), double(f[3]));
    }
    return text;
}

bool same(const FxState& a, const FxState& b, const Part& p) {
    return std::memcmp(bytes_of(a, p), bytes_of(b, p), p.size) == 0;
}

}  // namespace

bool host_keeps_pointers() { return kept().opcode && kept().pointers; }

void compare_fx(unsigned bits, const FxState& host, const FxState& soft, u64 compared, std::vector<std::string>& out) {
    constexpr unsigned mask_at = offsetof(FxState, mxcsr_mask), st_at = offsetof(FxState, st);
    constexpr unsigned end = offsetof(FxState, unused1);
    const auto* h = reinterpret_cast<const u8*>(&host);
    const auto* s = reinterpret_cast<const u8*>(&soft);
    if (!std::memcmp(h, s, mask_at) && !std::memcmp(h + st_at, s + st_at, end - st_at)) return;  // nearly always
    const u16 status = u16(compared >> status_shift);
    for (unsigned n = 0; n < part_count - (bits == 64 ? 0 : 8); ++n) {
        const Part p = part(n);
        if (same(host, soft, p) || !is_compared(p.name)) continue;
        if (n == 1 && !((host.fsw ^ soft.fsw) & status)) continue;
        const std::string name = part_name(n);
        out.push_back(name + std::string(8 - name.size(), ' ') + "judge " + number_text(host, p) +
                      readable(name, host, p) + "\n            soft  " + number_text(soft, p) +
                      readable(name, soft, p));
    }
}

std::string fx_lines(const char* when, const FxState& fx, const FxState& usual) {
    std::string text;
    for (unsigned n = 0; n < part_count; ++n)
        if (const Part p = part(n); !same(fx, usual, p))
            text += std::string(when) + "_" + part_name(n) + " = " + number_text(fx, p) + "\n";
    return text;
}

void read_fx(const std::string& when, FxState& fx,
             const std::function<const std::string*(const std::string&)>& value_of) {
    for (unsigned n = 0; n < part_count; ++n) {
        const std::string key = when + "_" + part_name(n);
        const std::string* text = value_of(key);
        if (!text) continue;
        try {
            read_number(*text, fx, part(n));
        } catch (const std::logic_error&) {
            throw std::runtime_error(key + " is " + *text + "; 0x and up to " + std::to_string(2 * part(n).size) +
                                     " small hexadecimal digits would do");
        }
    }
}

std::string fx_story(const FxState& before, const FxState& host, const FxState& soft) {
    static const FxState usual;
    std::string text;
    for (unsigned n = 0; n < part_count; ++n) {
        const Part p = part(n);
        if (same(before, usual, p) && same(host, usual, p) && same(soft, usual, p)) continue;
        const std::string name = part_name(n), indent(9, ' ');
        text += "  " + name + std::string(7 - name.size(), ' ') + "before " + number_text(before, p) +
                readable(name, before, p) + "\n";
        if (same(before, host, p) && same(before, soft, p)) continue;
        if (same(host, soft, p)) {
            text += indent + "after  " + number_text(host, p) + readable(name, host, p) + "\n";
            continue;
        }
        text += indent + "judge  " + number_text(host, p) + readable(name, host, p) + "  <\n";
        text += indent + "soft   " + number_text(soft, p) + readable(name, soft, p) + "\n";
    }
    return text;
}

void summarise_exceptions(FxState& fx) {
    constexpr u16 exceptions = 0x3f, summary_and_busy = 0x8080;
    fx.fsw = u16(fx.fsw & ~summary_and_busy);
    if (fx.fsw & ~fx.fcw & exceptions) fx.fsw |= summary_and_busy;
}

bool reset_part(FxState& fx, unsigned n) {
    static const FxState usual;
    if (n >= part_count) return false;
    const Part p = part(n);
    std::memcpy(bytes_of(fx, p), bytes_of(usual, p), p.size);
    summarise_exceptions(fx);
    return true;
}

}  // namespace silicon::oracle
