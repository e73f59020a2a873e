// Linux's hypervisor as the judge: a guest that runs programs at CPL 3 and tells how they end by an IDT of its own.
//
// Another witness than the child of the host side: no signal between an exception and what is seen of it (the guest's
// own stack frame, error code and CR2), 16-bit segments without modify_ldt, no page that only one side has, and
// XCR0 of the software CPU's width where the processor lets one choose.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "silicon/oracle/side.h"
#include "silicon/oracle/space.h"

struct kvm_run;

namespace silicon::oracle {

class File {
  public:
    explicit File(int fd) : fd_(fd) {}
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int get() const { return fd_; }

  private:
    int fd_;
};

class Kvm : public Side {
  public:
    Kvm();  // throws std::runtime_error where this machine has no KVM, or it does not do what is needed
    ~Kvm() override;

    const char* name() const override { return "KVM"; }
    u8* code() const override { return code_; }
    Job& job(unsigned n) const override { return jobs_[n]; }
    Pattern& pattern() const override { return *pattern_; }
    void pattern_changed() override { pattern_is_new_ = true; }
    void start(unsigned jobs) override;
    bool wait(std::string& why) override;
    bool is_doubtful(const Program& program, const Result& own, const Result& soft) const override;
    double cpu_seconds() const override { return 0; }  // it is a thread of this process
    bool judges(unsigned bits) const override { return bits == 64 || (bits == 32 ? judges_32_ : judges_16_); }
    bool has_fs_base() const override { return true; }

  private:
    void map(unsigned slot, u64 gpa, u8* memory, u64 size);
    void make_vcpu();
    void make_idt();
    void announce_processor();
    void set_system_calls();
    void work();
    void run_batch(unsigned jobs);
    void run_job(Job& job);
    void set_registers(const Job& job);
    void set_float(const x86::FxState& fx);
    void enter(Result& result);
    void read_ending(const Job& job, Result& result);
    void read_exception(const Job& job, u32 vector, u64 stack_pointer, Result& result);
    bool leaves_to_processor(unsigned bits, u64 stack_pointer);

    Space space_;
    u8* code_ = nullptr;
    std::unique_ptr<Job[]> jobs_;
    std::unique_ptr<Pattern> pattern_;
    bool pattern_is_new_ = true;
    std::unique_ptr<File> system_, vm_, vcpu_;
    kvm_run* run_ = nullptr;
    size_t run_bytes_ = 0;
    bool judges_32_ = true, judges_16_ = true;
    bool emulates_ = false;  // see `is_doubtful`

    // The thread that runs the vCPU.
    std::mutex mutex_;
    std::condition_variable changed_;
    unsigned todo_ = 0;
    bool busy_ = false, ends_ = false;
    std::string failure_;
    std::thread worker_;
};

}  // namespace silicon::oracle
