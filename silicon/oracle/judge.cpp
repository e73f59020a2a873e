#include "silicon/oracle/judge.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "silicon/oracle/fx_state.h"
#include "silicon/oracle/images.h"
#include "silicon/oracle/unjudged.h"

namespace silicon::oracle {

using x86::flag::all;
using x86::flag::arithmetic;
using x86::flag::rf;

namespace {

constexpr const char* names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                   "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr u64 user_end = (u64{1} << 47) - page_bytes;  // where Linux hides whether a page is present

std::string both(const char* what, u64 host, u64 soft) {
    char text[128];
    std::snprintf(text, sizeof text, "%-7s judge 0x%016llx  soft 0x%016llx", what,
                  static_cast<unsigned long long>(host), static_cast<unsigned long long>(soft));
    return text;
}

void compare_registers(const Program& program, const Result& host, const Result& soft, std::vector<std::string>& out) {
    const u64 mask = program.bits == 64 ? ~u64{0} : 0xffff'ffff;
    for (unsigned n = 0; n < (program.bits == 64 ? 16u : 8u); ++n)
        if ((host.after.gpr[n] ^ soft.after.gpr[n]) & mask)
            out.push_back(both(names[n], host.after.gpr[n], soft.after.gpr[n]));
    if (host.after.rip != soft.after.rip) out.push_back(both("rip", host.after.rip, soft.after.rip));
    const u64 compared = compared_flags(program, host), flags = compared & all;
    if ((host.after.rflags ^ soft.after.rflags) & flags)
        out.push_back(both("rflags", host.after.rflags & flags, soft.after.rflags & flags));
    compare_fx(program.bits, host.after.fx, soft.after.fx, compared, out);
}

void compare_memory(const Result& host, const Result& soft, std::vector<std::string>& out) {
    if (host.change_count == soft.change_count && host.change_hash == soft.change_hash) return;
    char text[128];
    std::snprintf(text, sizeof text, "memory  judge changed %u words, soft %u", host.change_count, soft.change_count);
    out.push_back(text);
    const auto list = [&](const char* side, const Result& mine, const Result& other) {
        const unsigned count = std::min(mine.change_count, Result::most_changes);
        for (unsigned n = 0; n < count; ++n) {
            const Change& c = mine.changes[n];
            bool same = false;
            for (unsigned i = 0; i < std::min(other.change_count, Result::most_changes); ++i)
                same |= other.changes[i] == c;
            if (same) continue;
            std::snprintf(text, sizeof text, "memory  %s [%#llx] = 0x%016llx", side,
                          static_cast<unsigned long long>(c.address), static_cast<unsigned long long>(c.value));
            out.push_back(text);
        }
    };
    list("judge", host, soft);
    list("soft", soft, host);
}

}  // namespace

std::string describe_ending(const Result& result) {
    char text[96];
    switch (result.ending) {
        case ended: return "ran to its end";
        case timed_out: return "ran for too long";
        case unexpected: std::snprintf(text, sizeof text, "left with exit kind %u", result.error); return text;
        case x86::vector_pf:
            std::snprintf(text, sizeof text, "page fault, error %#x at %#llx", result.error,
                          static_cast<unsigned long long>(result.address));
            return text;
        default: std::snprintf(text, sizeof text, "exception %u, error %#x", result.ending, result.error); return text;
    }
}

// A program that stopped at one of its instructions has executed those before it: what they left undefined does not
// count.
u64 compared_flags(const Program& program, const Result& result) {
    const int step = result.ending == ended ? int(program.steps.size()) : program.step_at(result.after.rip);
    u64 ignored = 0;
    if (step >= 0 && size_t(step) < program.ignored.size()) ignored = program.ignored[size_t(step)];
    else
        for (const u64 flags : program.ignored) ignored |= flags;
    return (status_bits | (all & ~rf)) & ~ignored;
}

Verdict compare(const Program& program, const Result& host, const Result& soft) {
    Verdict v;
    const bool page_fault = host.ending == x86::vector_pf && soft.ending == x86::vector_pf;
    const u32 ignored_error = page_fault && host.address >= user_end ? 1 : 0;
    const bool same_address = !page_fault || host.address == soft.address;
    if (host.ending != soft.ending || ((host.error ^ soft.error) & ~ignored_error && host.ending < ended) ||
        !same_address)
        v.differences.push_back("ending  judge " + describe_ending(host) + "; soft " + describe_ending(soft));
    compare_registers(program, host, soft, v.differences);
    compare_memory(host, soft, v.differences);
    if (!v.differences.empty()) v.kind = Verdict::Differs;
    return v;
}

Job job_of(const Program& program) {
    Job job{};
    job.before = program.before;
    std::copy(std::begin(program.patches), std::end(program.patches), job.patches);
    job.bits = program.bits;
    const std::optional<u64> image = image_of(program);
    job.has_image = image.has_value();
    job.image = image.value_or(0);
    return job;
}

void Judge::use_pattern(u64 seed) {
    if (has_pattern_ && seed == seed_) return;
    make_pattern(seed, side->pattern());
    side->pattern_changed();
    soft.set_pattern(side->pattern());
    seed_ = seed;
    has_pattern_ = true;
}

// Not judged: what ran away, what the manuals leave to the processor, what the judge cannot say.
Verdict Judge::weigh(const Program& program, const Result& on_host, const Result& on_soft) {
    if (on_soft.ending == timed_out || on_host.ending == escaped || went_astray(program, on_soft))
        return {Verdict::NotJudged, {}};
    Result host_result = on_host;
    // Linux reports INT3 and INTO behind the instruction, as the processor pushes it; VMX on it.
    const bool trap = host_result.ending == x86::vector_bp || host_result.ending == x86::vector_of;
    const int step = program.step_at(host_result.after.rip);
    if (trap) host_result.after.rip -= step > 0 ? program.steps[size_t(step) - 1].length : 1;
    Verdict v = compare(program, host_result, on_soft);
    if (v.kind == Verdict::Differs &&
        (is_left_open(program, on_host, on_soft) || is_image_left_open(program, on_host, on_soft)))
        return {Verdict::NotJudged, {}};
    // Into the middle of an instruction, or another program's: what is executed there need not be of the table.
    const u64 out = program.before.rip + slot_bytes - 8;
    const auto is_own = [&](u64 rip) { return program.step_at(rip) >= 0 || rip == out; };
    if (v.kind == Verdict::Differs && soft.strays(job_of(program), is_own)) return {Verdict::NotJudged, {}};
    if (v.kind == Verdict::Differs && side->is_doubtful(program, on_host, on_soft)) return {Verdict::NotJudged, {}};
    return v;
}

Verdict Judge::judge_one(const Program& program, Result& on_host, Result& on_soft) {
    use_pattern(program.pattern_seed);
    write_code(program, side->code());
    Job& job = side->job(0);
    job = job_of(program);
    soft.run(job, on_soft);
    if (on_soft.ending == timed_out) return {Verdict::NotJudged, {}};
    side->start(1);
    std::string why;
    if (!side->wait(why)) return {Verdict::Differs, {"the judge broke down: " + why}};
    on_host = job.result;
    return weigh(program, on_host, on_soft);
}

void Judge::judge_batch(const std::vector<Program>& programs, std::vector<Verdict>& verdicts,
                        std::vector<Result>& soft_results) {
    if (programs.empty()) return;
    use_pattern(programs[0].pattern_seed);
    std::memset(side->code(), 0xcc, code_bytes);
    for (unsigned n = 0; n < programs.size(); ++n) {
        write_code(programs[n], side->code());
        write_way_out(n, programs[n].bits, side->code());
        side->job(n) = job_of(programs[n]);
    }
    side->start(unsigned(programs.size()));
    verdicts.assign(programs.size(), {});
    soft_results.resize(programs.size());
    for (unsigned n = 0; n < programs.size(); ++n) soft.run(job_of(programs[n]), soft_results[n]);
    std::string why;
    if (side->wait(why)) {
        for (unsigned n = 0; n < programs.size(); ++n)
            verdicts[n] = weigh(programs[n], side->job(n).result, soft_results[n]);
        return;
    }
    std::fprintf(stderr, "oracle: the judge broke down (%s); running its batch one by one\n", why.c_str());
    for (unsigned n = 0; n < programs.size(); ++n) {
        Result on_host;
        verdicts[n] = judge_one(programs[n], on_host, soft_results[n]);
        side->job(n).result = on_host;
    }
}

bool Judge::differs(const Program& program) {
    Result on_host, on_soft;
    return judge_one(program, on_host, on_soft).kind == Verdict::Differs;
}

// Drops instructions, then sets registers to 0 and x87 and SSE state to the usual, while the difference stays.
Program Judge::minimise(const Program& program) {
    Program best = program;
    for (size_t n = best.steps.size(); n-- > 0 && best.steps.size() > 1;) {
        Program tried = best;
        tried.steps.erase(tried.steps.begin() + long(n));
        if (tried.at_edge) tried.before.rip += best.steps[n].length;
        if (tried.work_out_ignored() && differs(tried)) best = tried;
    }
    for (u64& value : best.before.gpr) {
        const u64 kept = value;
        value = 0;
        if (kept && !differs(best)) value = kept;
    }
    const x86::FxState whole = best.before.fx;
    best.before.fx = x86::FxState{};
    if (differs(best)) return best;
    best.before.fx = whole;
    for (unsigned n = 0;; ++n) {
        const x86::FxState kept = best.before.fx;
        if (!reset_part(best.before.fx, n)) return best;
        if (!differs(best)) best.before.fx = kept;
    }
}

}  // namespace silicon::oracle
