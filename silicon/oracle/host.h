// The bare processor: a child process that runs programs in user mode and catches how they end.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "silicon/oracle/side.h"

namespace silicon::oracle {

// A range of addresses that the child has mapped for itself; a program that touches it cannot be judged.
struct OwnRange {
    u64 begin, end;
};

class Host : public Side {
  public:
    Host();
    ~Host() override;

    const char* name() const override { return "this processor"; }
    u8* code() const override { return code_; }
    Job& job(unsigned n) const override;
    Pattern& pattern() const override;
    void pattern_changed() override;
    void start(unsigned jobs) override;
    bool wait(std::string& why) override;
    bool is_doubtful(const Program& program, const Result& own, const Result& soft) const override;
    double cpu_seconds() const override;
    bool judges(unsigned bits) const override;
    bool has_fs_base() const override;

  private:
    struct Shared;
    void spawn();
    void reap();
    void read_own_ranges();
    bool is_own(u64 address) const;  // the child's memory, which the soft side does not have

    Shared* shared_ = nullptr;
    u8* code_ = nullptr;
    int code_file_ = -1;
    int child_ = -1;
    int to_child_ = -1, from_child_ = -1;
    std::vector<OwnRange> own_;
};

}  // namespace silicon::oracle
