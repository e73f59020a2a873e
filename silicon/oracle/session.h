// A judging run: random programs until a limit, counts by row, what to say at the end.
#pragma once

#include <string>

#include "silicon/oracle/generate.h"
#include "silicon/oracle/judge.h"

namespace silicon::oracle {

struct Options {
    u64 seed = 1;
    u64 count = 0;          // instructions; 0: no limit
    double seconds = 0;     // 0: no limit
    u64 at_least = 0;       // a row judged less often is a failure
    unsigned failures = 1;  // how many different ones to find before giving up
    Wishes wishes;
    bool list = false, json = false;
    std::string judge = "host";  // or kvm
    std::string keep;  // folder for the cases of what differs
    std::vector<std::string> replay, record;
};

class Session {
  public:
    explicit Session(const Options& options);
    int run();     // the exit code
    int replay();  // of the files in options
    int record();  // writes this processor's state into the files in options

  private:
    void count_programs();
    void count_steps(const Program& program, const Result& soft);
    void report_failure(const Program& program, const Verdict& first);
    void print_list() const;
    void print_json(double seconds) const;
    void print_families() const;
    unsigned rarely_judged() const;
    bool covered(const Unit& unit) const;

    Options options_;
    Forms forms_;
    Judge judge_;
    Generator generator_;
    std::vector<Program> programs_;
    std::vector<Verdict> verdicts_;
    std::vector<Result> soft_results_;
    u64 judged_ = 0, programs_judged_ = 0, not_judged_ = 0, faulted_ = 0;
    unsigned failed_ = 0;
    std::vector<bool> unit_failed_;
};

}  // namespace silicon::oracle
