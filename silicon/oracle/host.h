// The bare processor: a child process that runs programs in user mode and catches how they end.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "silicon/oracle/layout.h"

namespace silicon::oracle {

// A range of addresses that the child has mapped for itself; a program that touches it cannot be judged.
struct OwnRange {
    u64 begin, end;
};

class Host {
  public:
    Host();
    ~Host();
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;

    // The code area, shared with the child: writable here, executable there.
    u8* code() const { return code_; }
    Job& job(unsigned n) const;
    Pattern& pattern() const;  // of the data pages; call `pattern_changed` after writing
    void pattern_changed();

    void start(unsigned jobs);       // sets the child to work on jobs 0 …
    bool wait(std::string& why);     // false: the child died; a new one is there, the results are not
    bool is_own(u64 address) const;  // the child's own memory, which the soft side does not have
    double cpu_seconds() const;      // that the child has used
    bool has_16_bits() const;        // 16-bit code can be judged
    bool has_fs_base() const;        // FS overrides have base 0 there

  private:
    struct Shared;
    void spawn();
    void reap();
    void read_own_ranges();

    Shared* shared_ = nullptr;
    u8* code_ = nullptr;
    int code_file_ = -1;
    int child_ = -1;
    int to_child_ = -1, from_child_ = -1;
    std::vector<OwnRange> own_;
};

}  // namespace silicon::oracle
