// Runs programs on both sides and says where they differ.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "silicon/oracle/forms.h"
#include "silicon/oracle/program.h"
#include "silicon/oracle/side.h"
#include "silicon/oracle/soft.h"

namespace silicon::oracle {

struct Verdict {
    enum Kind { Same, Differs, NotJudged } kind = Same;
    std::vector<std::string> differences;  // "rax  judge 0x1, soft 0x2"
};

// What to compare when `program` has ended as `result` says: flags as Step has them.
u64 compared_flags(const Program& program, const Result& result);
Verdict compare(const Program& program, const Result& host, const Result& soft);
std::string describe_ending(const Result& result);
Job job_of(const Program& program);

class Judge {
  public:
    explicit Judge(std::unique_ptr<Side> judge) : side(std::move(judge)), soft(side->code()) {}

    // One program by itself. The pattern is the program's.
    Verdict judge_one(const Program& program, Result& on_host, Result& on_soft);
    // A whole batch, both sides at the same time: programs[n] in slot n. Verdicts in order.
    void judge_batch(const std::vector<Program>& programs, std::vector<Verdict>& verdicts,
                     std::vector<Result>& soft_results);
    // A smaller program that still differs.
    Program minimise(const Program& program);

    std::unique_ptr<Side> side;
    Soft soft;

  private:
    bool differs(const Program& program);
    void use_pattern(u64 seed);
    Verdict weigh(const Program& program, const Result& on_host, const Result& on_soft);
    u64 seed_ = 0;
    bool has_pattern_ = false;
};

}  // namespace silicon::oracle
