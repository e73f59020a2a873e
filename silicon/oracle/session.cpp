#include "silicon/oracle/session.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>

#include "silicon/oracle/case.h"
#include "silicon/oracle/host.h"
#include "silicon/oracle/kvm.h"

namespace silicon::oracle {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string free_name(const std::string& stem) {
    for (unsigned n = 1;; ++n)
        if (const std::string name = stem + "_" + std::to_string(n) + ".toml"; !std::filesystem::exists(name))
            return name;
}

std::unique_ptr<Side> make_side(const std::string& name) {
    if (name == "kvm") return std::make_unique<Kvm>();
    return std::make_unique<Host>();
}

std::string row_name(const Unit& unit) { return std::string(name_of(unit.mnemonic)) + " " + unit.row->operands; }

}  // namespace

Session::Session(const Options& options)
    : options_(options),
      judge_(make_side(options.judge)),
      generator_(
          forms_,
          [&] {
              Wishes wishes = options.wishes;
              wishes.fs_base_is_zero = judge_.side->has_fs_base();
              wishes.has_32_bits = judge_.side->judges(32);
              wishes.has_16_bits = judge_.side->judges(16);
              return wishes;
          }(),
          options.seed),
      unit_failed_(forms_.units().size() + 1) {}

// Instructions that were executed: those before the one that faulted, and that one. After a branch nobody knows.
void Session::count_steps(const Program& program, const Result& soft) {
    ++programs_judged_;
    const int stopped = soft.ending == ended ? int(program.steps.size()) : program.step_at(soft.after.rip);
    if (soft.ending != ended) ++faulted_;
    for (int n = 0; n < int(program.steps.size()) && n <= stopped; ++n) {
        ++judged_;
        const Step& step = program.steps[size_t(n)];
        if (step.unit >= 0) {
            Unit& unit = forms_.units()[size_t(step.unit)];
            ++unit.judged;
            if (n == stopped) ++unit.faulted;
        }
        if (step.branch_bytes) break;
    }
}

void Session::report_failure(const Program& program, const Verdict& first) {
    const auto unit_of = [&](const Step& step) { return step.unit < 0 ? forms_.units().size() : size_t(step.unit); };
    if (std::any_of(program.steps.begin(), program.steps.end(),
                    [&](const Step& s) { return unit_failed_[unit_of(s)]; }))
        return;
    const Program small = judge_.minimise(program);
    const size_t unit = unit_of(small.steps.back());
    Result on_host{}, on_soft{};
    const Verdict verdict = judge_.judge_one(small, on_host, on_soft);
    for (const Step& step : small.steps) unit_failed_[unit_of(step)] = true;
    ++failed_;
    const std::string text = case_text(small, on_host);
    std::printf("\n==== the software CPU differs from %s (%u)\n%s", judge_.side->name(), failed_,
                story(small, on_host, on_soft, verdict).c_str());
    if (verdict.kind != Verdict::Differs) {  // it hangs on what ran before it
        std::printf("alone it does not differ; among the others of its batch it did:\n");
        for (const std::string& difference : first.differences) std::printf("    %s\n", difference.c_str());
    }
    if (options_.keep.empty()) {
        std::printf("as a case for tests/instructions/cases/:\n%s", text.c_str());
        return;
    }
    const std::string name = free_name(
        options_.keep + "/" + (unit == forms_.units().size() ? "invalid" : name_of(forms_.units()[unit].mnemonic)));
    std::ofstream(name) << text;
    std::printf("kept as %s\n", name.c_str());
}

void Session::count_programs() {
    for (size_t n = 0; n < programs_.size(); ++n) {
        if (verdicts_[n].kind == Verdict::NotJudged) ++not_judged_;
        else count_steps(programs_[n], soft_results_[n]);
    }
    // Reporting runs more programs, which reuses the jobs: last.
    for (size_t n = 0; n < programs_.size() && failed_ < options_.failures; ++n)
        if (verdicts_[n].kind == Verdict::Differs) report_failure(programs_[n], verdicts_[n]);
}

int Session::run() {
    if (!generator_.can_make_any()) {
        std::fprintf(stderr,
                     "hv-oracle: no row of the table is of family \"%s\" and mnemonic \"%s\" in a mode that %s can "
                     "judge\n",
                     options_.wishes.family.c_str(), options_.wishes.mnemonic.c_str(), judge_.side->name());
        return 2;
    }
    const double began = now();
    Rng seeds(options_.seed ^ 0x0c1e);
    for (;;) {
        if (options_.count && judged_ >= options_.count) break;
        if (options_.seconds > 0 && now() - began >= options_.seconds) break;
        if (failed_ >= options_.failures) break;
        const u64 pattern = seeds.next();  // half of them with vectors
        const unsigned bits = generator_.pick_bits();
        programs_.clear();
        for (unsigned n = 0; n < batch_size; ++n) programs_.push_back(generator_.make(n, bits, pattern));
        judge_.judge_batch(programs_, verdicts_, soft_results_);
        count_programs();
    }
    const double seconds = now() - began;
    if (options_.list) print_list();
    if (options_.json) {
        print_json(seconds);
    } else {
        print_families();
        std::printf(
            "seed %llu: %llu instructions in %llu programs (%llu ended in a fault) in %.1f s, %.0f a second; %llu not "
            "judged; %u differ\n",
            static_cast<unsigned long long>(options_.seed), static_cast<unsigned long long>(judged_),
            static_cast<unsigned long long>(programs_judged_), static_cast<unsigned long long>(faulted_), seconds,
            double(judged_) / seconds, static_cast<unsigned long long>(not_judged_), failed_);
    }
    return failed_ || rarely_judged() ? 1 : 0;
}

bool Session::covered(const Unit& unit) const {
    const Wishes& w = options_.wishes;
    for (const unsigned bits : {64u, 32u}) {
        if ((w.bits && w.bits != bits) || !judge_.side->judges(bits)) continue;
        for (const unsigned n : forms_.choose(w.family, w.mnemonic, bits))
            if (&forms_.units()[n] == &unit) return true;
    }
    return false;
}

unsigned Session::rarely_judged() const {
    unsigned rare = 0;
    for (const Unit& unit : forms_.units()) {
        if (unit.judged >= options_.at_least || !covered(unit)) continue;
        ++rare;
        std::fprintf(stderr, "hv-oracle: row %s was judged %llu times, less than %llu\n", row_name(unit).c_str(),
                     static_cast<unsigned long long>(unit.judged), static_cast<unsigned long long>(options_.at_least));
    }
    return rare;
}

void Session::print_list() const {
    for (const Unit& unit : forms_.units())
        if (covered(unit))
            std::printf("%-10s %-34s %10llu judged %9llu faulted\n", unit.row->family, row_name(unit).c_str(),
                        static_cast<unsigned long long>(unit.judged), static_cast<unsigned long long>(unit.faulted));
}

void Session::print_families() const {
    std::map<std::string, std::pair<u64, u64>> families;
    for (const Unit& unit : forms_.units()) {
        families[unit.row->family].first += unit.judged;
        families[unit.row->family].second += unit.faulted;
    }
    for (const auto& [name, counts] : families)
        if (counts.first)
            std::printf("%-10s %12llu judged, %llu of them faulted\n", name.c_str(),
                        static_cast<unsigned long long>(counts.first), static_cast<unsigned long long>(counts.second));
}

void Session::print_json(double seconds) const {
    std::printf(
        "{\"seed\": %llu, \"instructions\": %llu, \"programs\": %llu, \"faulted\": %llu, \"not_judged\": %llu, "
        "\"differ\": %u, "
        "\"seconds\": %.3f, \"cpu_seconds\": %.3f, \"rows\": [",
        static_cast<unsigned long long>(options_.seed), static_cast<unsigned long long>(judged_),
        static_cast<unsigned long long>(programs_judged_), static_cast<unsigned long long>(faulted_),
        static_cast<unsigned long long>(not_judged_), failed_, seconds,
        double(std::clock()) / CLOCKS_PER_SEC + judge_.side->cpu_seconds());
    const char* comma = "";
    for (const Unit& unit : forms_.units()) {
        if (!covered(unit)) continue;
        std::printf(
            "%s\n  {\"family\": \"%s\", \"mnemonic\": \"%s\", \"operands\": \"%s\", \"judged\": %llu, \"faulted\": "
            "%llu}",
            comma, unit.row->family, name_of(unit.mnemonic), unit.row->operands,
            static_cast<unsigned long long>(unit.judged), static_cast<unsigned long long>(unit.faulted));
        comma = ",";
    }
    std::printf("\n]}\n");
}

// The flags that are left undefined are those of the rows, when the file does not say which to compare.
int Session::record() {
    for (const std::string& path : options_.record) {
        Program program = read_program(path);
        const u64 ignored = program.ignored.front();
        for (Step& step : program.steps) {
            const Decoded d = decode(step.bytes, step.length, program.bits);
            const int unit = d.ok() ? forms_.unit_of(d.insn, d.operands) : -1;
            if (unit < 0) continue;
            step.undefined =
                undefined_flags(forms_.units()[size_t(unit)], d.insn, d.operands, program.before.gpr[x86::rcx]);
            step.defines = forms_.units()[size_t(unit)].row->flags_written & ~step.undefined;
            step.branches = d.insn.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
        }
        program.work_out_ignored();
        for (u64& flags : program.ignored) flags |= ignored;
        Result on_host{}, on_soft{};
        const Verdict verdict = judge_.judge_one(program, on_host, on_soft);
        std::ofstream(path) << case_text(program, on_host);
        std::printf("%s: %s; the software CPU %s\n", path.c_str(), describe_ending(on_host).c_str(),
                    verdict.kind == Verdict::Same ? "does the same" : "DIFFERS");
    }
    return 0;
}

// A kept case: both sides against the expected state.
int Session::replay() {
    int failed = 0;
    for (const std::string& path : options_.replay) {
        const Case c = read_case(path);
        Result on_host{}, on_soft{};
        const Verdict mutual = judge_.judge_one(c.program, on_host, on_soft);
        const Verdict host = compare(c.program, c.expected, on_host), soft = compare(c.program, c.expected, on_soft);
        const bool same = mutual.kind == Verdict::Same && soft.kind == Verdict::Same && host.kind == Verdict::Same;
        const bool can = judge_.side->judges(c.program.bits) && !judge_.side->is_doubtful(c.program, on_host, on_soft);
        std::printf("%s: %s\n", path.c_str(), same ? "as expected" : can ? "DIFFERS" : "not judged");
        if (same || !can) continue;
        ++failed;
        std::printf("%s", story(c.program, on_host, on_soft, mutual).c_str());
        for (const std::string& text : soft.differences)
            std::printf("    expected (as judge) against soft: %s\n", text.c_str());
        for (const std::string& text : host.differences)
            std::printf("    expected (as judge) against %s (as soft): %s\n", judge_.side->name(),
                        text.c_str());
    }
    return failed ? 1 : 0;
}

}  // namespace silicon::oracle
