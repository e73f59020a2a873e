// Who judges the software CPU: a processor that runs the same programs in user mode.
#pragma once

#include <string>

#include "silicon/oracle/program.h"

namespace silicon::oracle {

class Side {
  public:
    Side() = default;
    virtual ~Side() = default;
    Side(const Side&) = delete;
    Side& operator=(const Side&) = delete;

    virtual const char* name() const = 0;  // "this processor"
    virtual u8* code() const = 0;          // the code area: writable here, executable there
    virtual Job& job(unsigned n) const = 0;
    virtual Pattern& pattern() const = 0;  // of the data pages; call `pattern_changed` after writing
    virtual void pattern_changed() = 0;

    virtual void start(unsigned jobs) = 0;    // sets it to work on jobs 0 …
    virtual bool wait(std::string& why) = 0;  // false: it broke down, and is there again; the results are not
    // What it says here is not the processor's word: where it differs, nothing is judged.
    virtual bool is_doubtful(const Program& program, const Result& own, const Result& soft) const = 0;
    virtual double cpu_seconds() const = 0;        // used beside this process's own
    virtual bool judges(unsigned bits) const = 0;  // such code
    virtual bool has_fs_base() const = 0;          // FS overrides have base 0 there
};

}  // namespace silicon::oracle
