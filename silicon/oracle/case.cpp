#include "silicon/oracle/case.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <stdexcept>

#include "silicon/oracle/fx_state.h"

namespace silicon::oracle {

namespace {

constexpr const char* names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                   "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

std::string hex(u64 value) {
    char text[24];
    std::snprintf(text, sizeof text, "%#llx", static_cast<unsigned long long>(value));
    return value ? text : "0x0";
}

std::string source_of(const Program& program, const char* indent) {
    std::string text;
    for (unsigned n = 0; n < program.steps.size(); ++n) {
        const Step& step = program.steps[n];
        text += indent + hex(program.step_address(n)) + ": " + disassemble(step, program.bits, program.step_address(n));
        text += "    ; " + hex_bytes(step.bytes, step.length) + "\n";
    }
    return text;
}

void put_registers(std::string& text, const char* when, const Registers& r) {
    for (unsigned n = 0; n < 16; ++n) text += std::string(when) + "_" + names[n] + " = " + hex(r.gpr[n]) + "\n";
    text += std::string(when) + "_rip = " + hex(r.rip) + "\n" + when + "_rflags = " + hex(r.rflags) + "\n";
}

}  // namespace

std::string case_text(const Program& program, const Result& expected) {
    const std::vector<u8> code = code_of(program);
    std::string text =
        "# Expected: " + describe_ending(expected) + "; registers as after_*, words of memory as memory_*.\n";
    text += source_of(program, "#     ");
    text += "bits = " + std::to_string(program.bits) + "\ncode = \"" + hex_bytes(code.data(), code.size()) + "\"\n";
    text += "at_edge = " + std::to_string(program.at_edge) + "\npattern = " + hex(program.pattern_seed) + "\n";
    for (const Change& patch : program.patches)
        if (patch.address) text += "patch_" + hex(patch.address) + " = " + hex(patch.value) + "\n";
    put_registers(text, "before", program.before);
    text += fx_lines("before", program.before.fx, {});
    text += "ending = " + hex(expected.ending) + "\nerror = " + hex(expected.error) +
            "\naddress = " + hex(expected.address) + "\n";
    text += "compared_flags = " + hex(compared_flags(program, expected)) + "\n";
    put_registers(text, "after", expected.after);
    text += fx_lines("after", expected.after.fx, program.before.fx);
    text += "changed_words = " + hex(expected.change_count) + "\nchanged_hash = " + hex(expected.change_hash) + "\n";
    for (unsigned n = 0; n < std::min(expected.change_count, Result::most_changes); ++n)
        text += "memory_" + hex(expected.changes[n].address) + " = " + hex(expected.changes[n].value) + "\n";
    return text;
}

namespace {

using Values = std::map<std::string, std::string>;

Values read_values(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error(path + ": cannot be read");
    Values values;
    std::string line;
    for (unsigned number = 1; std::getline(file, line); ++number) {
        if (line.empty() || line[0] == '#') continue;
        const size_t equals = line.find(" = ");
        if (equals == std::string::npos)
            throw std::runtime_error(path + ":" + std::to_string(number) + ": no `key = value`");
        values[line.substr(0, equals)] = line.substr(equals + 3);
    }
    return values;
}

class Reader {
  public:
    Reader(const std::string& path) : path_(path), values_(read_values(path)) {}
    const Values& values() const { return values_; }
    const std::string& text(const std::string& key) const {
        const auto found = values_.find(key);
        if (found == values_.end()) throw std::runtime_error(path_ + ": the key " + key + " is missing");
        return found->second;
    }
    bool has(const std::string& key) const { return values_.contains(key); }
    u64 number_or(const std::string& key, u64 otherwise) const { return has(key) ? number(key) : otherwise; }
    u64 number(const std::string& key) const {
        try {
            return std::stoull(text(key), nullptr, 0);
        } catch (const std::logic_error&) {
            throw std::runtime_error(path_ + ": " + key + " is not a number");
        }
    }
    Registers registers(const std::string& when) const {
        Registers r{};
        for (unsigned n = 0; n < 16; ++n) r.gpr[n] = number(when + "_" + names[n]);
        r.rip = number(when + "_rip");
        r.rflags = number(when + "_rflags");
        return r;
    }
    // Of what the file does not name `fx` keeps its own.
    void fx(const std::string& when, x86::FxState& fx) const {
        try {
            read_fx(when, fx, [&](const std::string& key) { return has(key) ? &values_.at(key) : nullptr; });
        } catch (const std::runtime_error& error) {
            refuse(error.what());
        }
    }
    [[noreturn]] void refuse(const std::string& why) const { throw std::runtime_error(path_ + ": " + why); }

  private:
    std::string path_;
    Values values_;
};

std::vector<u8> read_code(const Reader& in) {
    std::vector<u8> code;
    const char* at = in.text("code").c_str() + 1;  // behind the quote
    for (unsigned byte; std::sscanf(at, "%2x", &byte) == 1; at += at[2] == ' ' ? 3 : 2) code.push_back(u8(byte));
    if (code.empty() || code.size() > most_code)
        in.refuse("code has " + std::to_string(code.size()) + " bytes; 1 to 160 would do");
    return code;
}

void split_steps(const std::vector<u8>& code, Program& program) {
    for (size_t at = 0; at < code.size();) {
        const Decoded d = decode(code.data() + at, code.size() - at, program.bits);
        Step step;
        step.length = u8(d.ok() ? d.insn.length : std::min<size_t>(15, code.size() - at));
        std::memcpy(step.bytes, code.data() + at, step.length);
        program.steps.push_back(step);
        at += step.length;
    }
}

}  // namespace

namespace {

// `patch_ADDRESS = VALUE`, as many as there are; files from before had one, as patch_at and patch_value.
void read_patches(const Reader& in, Program& p) {
    const auto patch = [&](const std::string& key, u64 address, u64 value) {
        if (address && !p.patch(address, value))
            in.refuse(key + ": up to " + std::to_string(most_patches) + " words in pages that can be written would do");
    };
    patch("patch_at", in.number_or("patch_at", 0), in.number_or("patch_value", 0));
    for (const auto& [key, value] : in.values())
        if (key.starts_with("patch_0x")) patch(key, std::stoull(key.substr(6), nullptr, 0), in.number(key));
}

Program read_program(const Reader& in) {
    Program p;
    p.bits = unsigned(in.number_or("bits", 64));
    if (p.bits != 64 && p.bits != 32 && p.bits != 16)
        in.refuse("bits is " + in.text("bits") + "; 64, 32 or 16 would do");
    split_steps(read_code(in), p);
    p.at_edge = in.number_or("at_edge", 0);
    p.pattern_seed = in.number_or("pattern", 1);
    read_patches(in, p);
    for (unsigned n = 0; n < 16; ++n) p.before.gpr[n] = in.number_or(std::string("before_") + names[n], 0);
    in.fx("before", p.before.fx);
    p.before.rip = in.number_or("before_rip", code_at);
    p.before.rflags = in.number_or("before_rflags", x86::flag::always | x86::flag::intf);
    if (p.before.rip < code_at || p.before.rip >= code_at + code_bytes)
        in.refuse("before_rip is outside the code pages");
    p.ignored.assign(p.steps.size() + 1, ~in.number_or("compared_flags", ~u64{0}));
    return p;
}

}  // namespace

Program read_program(const std::string& path) { return read_program(Reader(path)); }

Case read_case(const std::string& path) {
    const Reader in(path);
    Case c{read_program(in), {}};
    Result& r = c.expected;
    r.after = in.registers("after");
    r.after.fx = c.program.before.fx;
    in.fx("after", r.after.fx);
    r.ending = u32(in.number("ending"));
    r.error = u32(in.number("error"));
    r.address = in.number("address");
    r.change_count = u32(in.number("changed_words"));
    r.change_hash = in.number("changed_hash");
    unsigned n = 0;
    for (const auto& [key, value] : in.values())
        if (key.starts_with("memory_") && n < Result::most_changes)
            r.changes[n++] = {std::stoull(key.substr(7), nullptr, 0), std::stoull(value, nullptr, 0)};
    return c;
}

std::string story(const Program& program, const Result& host, const Result& soft, const Verdict& verdict) {
    std::string text =
        "program (" + std::to_string(program.bits) + " bits), memory pattern " + hex(program.pattern_seed) + ":\n";
    text += source_of(program, "    ");
    for (const Change& patch : program.patches)
        if (patch.address) text += "    with [" + hex(patch.address) + "] = " + hex(patch.value) + "\n";
    char line[160];
    text +=
        "state:   before              judge after         soft after          (registers that stay 0 are left out)\n";
    const auto row = [&](const char* name, u64 before, u64 on_host, u64 on_soft) {
        if (!before && !on_host && !on_soft) return;
        std::snprintf(line, sizeof line, "  %-6s 0x%016llx  0x%016llx  0x%016llx%s\n", name,
                      static_cast<unsigned long long>(before), static_cast<unsigned long long>(on_host),
                      static_cast<unsigned long long>(on_soft), on_host != on_soft ? "  <" : "");
        text += line;
    };
    for (unsigned n = 0; n < 16; ++n) row(names[n], program.before.gpr[n], host.after.gpr[n], soft.after.gpr[n]);
    row("rip", program.before.rip, host.after.rip, soft.after.rip);
    row("rflags", program.before.rflags, host.after.rflags, soft.after.rflags);
    text += fx_story(program.before.fx, host.after.fx, soft.after.fx);
    text += "judge " + describe_ending(host) + "; soft " + describe_ending(soft) + "\ndifferences:\n";
    for (const std::string& difference : verdict.differences) text += "    " + difference + "\n";
    return text;
}

}  // namespace silicon::oracle
