#include "silicon/oracle/kvm.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <ctime>
#include <stdexcept>

#include "silicon/oracle/judge.h"
#include "silicon/x86_64/event.h"

namespace silicon::oracle {

using namespace x86;

namespace {

// Entries: exception n has its HLT at n, SYSCALL at these.
constexpr u32 exceptions = 32, system_call_entry = 0x40, system_call32_entry = 0x41;
constexpr u8 interrupt_gate = 0x8e;
constexpr u32 registers_by_memory = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;  // no system call for each
constexpr u32 reserved_bit = 1 << 3;  // of a page fault's error code: RSVD
constexpr u64 lower_half_end = u64{1} << 47, upper_half = ~(lower_half_end - 1);
constexpr auto longest = std::chrono::milliseconds(300);  // a program that runs on is stopped
constexpr long look_ns = 100'000'000;                     // how often somebody looks

constexpr u32 msr_star = 0xc000'0081, msr_lstar = 0xc000'0082, msr_cstar = 0xc000'0083;

// The kernel's headers end these in arrays without a length, which C++ gives another size than C: theirs are the first
// 8 bytes, and those of kvm_xsave 4096.
struct CpuidTable {
    u32 count, unused;
    kvm_cpuid_entry2 entries[256];
};
struct OneMsr {
    u32 count, unused;
    kvm_msr_entry entry;
};
struct XsaveImage {
    u8 bytes[4096];
};
constexpr unsigned long get_supported_cpuid = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x05, 8),
                        set_cpuid = _IOC(_IOC_WRITE, KVMIO, 0x90, 8), set_msrs = _IOC(_IOC_WRITE, KVMIO, 0x89, 8),
                        get_xsave = _IOC(_IOC_READ, KVMIO, 0xa4, 4096), set_xsave = _IOC(_IOC_WRITE, KVMIO, 0xa5, 4096);

[[noreturn]] void fail(const char* what) { throw std::runtime_error(std::string(what) + ": " + std::strerror(errno)); }

template <class Argument>
int must(int fd, unsigned long request, Argument argument, const char* what) {
    const int result = ioctl(fd, request, argument);
    if (result < 0) fail(what);
    return result;
}

kvm_segment kvm_of(const Segment& from) {
    kvm_segment to{};
    to.base = from.base;
    to.limit = from.limit;
    to.selector = from.selector;
    to.type = u8(from.rights & ar::type);
    to.present = (from.rights & ar::present) != 0;
    to.dpl = u8(ar::dpl(from.rights));
    to.db = (from.rights & ar::db) != 0;
    to.s = (from.rights & ar::s) != 0;
    to.l = (from.rights & ar::l) != 0;
    to.g = (from.rights & ar::g) != 0;
    to.avl = (from.rights & ar::avl) != 0;
    to.unusable = (from.rights & ar::unusable) != 0;
    return to;
}

// SDM vol. 3, "Exception and Interrupt Reference": which exceptions push an error code.
constexpr bool has_error_code(u32 vector) {
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == vector_ac || vector == 21;
}

void on_look(int) {}

// Sends a signal to the thread that made it, again and again: KVM_RUN then comes back.
class Looks {
  public:
    Looks() {
        struct sigaction action{};
        action.sa_handler = on_look;
        sigaction(SIGRTMIN, &action, nullptr);
        sigevent event{};
        event.sigev_notify = SIGEV_THREAD_ID;
        event.sigev_signo = SIGRTMIN;
        event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
        if (timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) fail("a timer for programs that run on");
        const itimerspec times{{0, look_ns}, {0, look_ns}};
        timer_settime(timer_, 0, &times, nullptr);
    }
    ~Looks() { timer_delete(timer_); }
    Looks(const Looks&) = delete;
    Looks& operator=(const Looks&) = delete;

  private:
    timer_t timer_{};
};

}  // namespace

File::~File() { close(fd_); }

Kvm::Kvm() : jobs_(new Job[batch_size]), pattern_(new Pattern{}) {
    const int device = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (device < 0) fail("the judge kvm needs /dev/kvm");
    system_ = std::make_unique<File>(device);
    void* code = mmap(nullptr, code_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED) fail("memory for the code of programs");
    code_ = static_cast<u8*>(code);
    vm_ = std::make_unique<File>(must(device, KVM_CREATE_VM, 0ul, "KVM_CREATE_VM"));
    map(0, 0, space_.memory(), own_bytes);
    map(1, code_at, code_, code_bytes);
    make_idt();
    make_vcpu();
    emulates_ = !leaves_to_processor(64, lower_half_end);
    judges_32_ = leaves_to_processor(32, data_at);
    judges_16_ = leaves_to_processor(16, 0);
    worker_ = std::thread([this] { work(); });
}

Kvm::~Kvm() {
    {
        const std::lock_guard lock(mutex_);
        ends_ = true;
    }
    changed_.notify_all();
    if (worker_.joinable()) worker_.join();
    if (run_) munmap(run_, run_bytes_);
    munmap(code_, code_bytes);
}

void Kvm::map(unsigned slot, u64 gpa, u8* memory, u64 size) {
    const kvm_userspace_memory_region region{slot, 0, gpa, size, reinterpret_cast<u64>(memory)};
    must(vm_->get(), KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
}

// INT3 and INTO are the program's to use (DPL 3), as with Linux; every other INT n is #GP, as with the software CPU's.
void Kvm::make_idt() {
    for (u32 vector = 0; vector < exceptions; ++vector) {
        const u64 entry = handlers_at + vector;
        const u64 rights = interrupt_gate | (vector == vector_bp || vector == vector_of ? 0x60 : 0);
        const u64 gate[2] = {
            (entry & 0xffff) | u64{kernel_selector} << 16 | rights << 40 | (entry >> 16 & 0xffff) << 48, entry >> 32};
        std::memcpy(space_.memory() + idt_gpa + vector * sizeof gate, gate, sizeof gate);
    }
}

void Kvm::make_vcpu() {
    vcpu_ = std::make_unique<File>(must(vm_->get(), KVM_CREATE_VCPU, 0ul, "KVM_CREATE_VCPU"));
    run_bytes_ = size_t(must(system_->get(), KVM_GET_VCPU_MMAP_SIZE, 0ul, "KVM_GET_VCPU_MMAP_SIZE"));
    void* run = mmap(nullptr, run_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_->get(), 0);
    if (run == MAP_FAILED) fail("mapping kvm_run");
    run_ = static_cast<kvm_run*>(run);
    if ((ioctl(system_->get(), KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) & registers_by_memory) != registers_by_memory)
        throw std::runtime_error("the judge kvm needs KVM_CAP_SYNC_REGS, which Linux has from 4.17 on");
    run_->kvm_valid_regs = registers_by_memory;
    announce_processor();
    kvm_xcrs xcrs{};
    xcrs.nr_xcrs = 1;
    xcrs.xcrs[0].value = xcr0_known;
    must(vcpu_->get(), KVM_SET_XCRS, &xcrs, "KVM_SET_XCRS");
    set_system_calls();
}

void Kvm::announce_processor() {
    const auto table = std::make_unique<CpuidTable>();
    table->count = std::size(table->entries);
    must(system_->get(), get_supported_cpuid, table.get(), "KVM_GET_SUPPORTED_CPUID");
    must(vcpu_->get(), set_cpuid, table.get(), "KVM_SET_CPUID2");
}

// A program that goes astray may find a SYSCALL among its bytes.
void Kvm::set_system_calls() {
    const std::pair<u32, u64> values[] = {{msr_star, u64{kernel_selector} << 32 | u64{0x23} << 48},
                                          {msr_lstar, handlers_at + system_call_entry},
                                          {msr_cstar, handlers_at + system_call32_entry}};
    for (const auto& [number, value] : values) {
        const OneMsr msr{1, 0, {number, 0, value}};
        must(vcpu_->get(), set_msrs, &msr, "KVM_SET_MSRS");
    }
}

void Kvm::start(unsigned jobs) {
    {
        const std::lock_guard lock(mutex_);
        todo_ = jobs;
        busy_ = true;
    }
    changed_.notify_all();
}

bool Kvm::wait(std::string& why) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !busy_; });
    if (!failure_.empty()) throw std::runtime_error(failure_);
    why.clear();
    return true;
}

void Kvm::work() {
    const Looks looks;
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [&] { return ends_ || busy_; });
        if (ends_) return;
        lock.unlock();
        std::string failure;
        try {
            run_batch(todo_);
        } catch (const std::exception& error) {
            failure = error.what();
        }
        lock.lock();
        failure_ = failure;
        busy_ = false;
        changed_.notify_all();
    }
}

void Kvm::run_batch(unsigned jobs) {
    if (pattern_is_new_) space_.set_pattern(*pattern_);
    pattern_is_new_ = false;
    for (unsigned n = 0; n < jobs; ++n) run_job(jobs_[n]);
}

void Kvm::run_job(Job& job) {
    space_.patch(job);
    set_registers(job);
    set_float(job.before.fx);
    job.result.error = 0;
    job.result.address = 0;
    enter(job.result);
    read_ending(job, job.result);
    space_.collect(job, job.result);
}

void Kvm::set_registers(const Job& job) {
    const auto segments = segments_of(job.bits);
    const auto segment = [&](Seg which) { return kvm_of(segments[static_cast<size_t>(which)]); };
    kvm_sregs& system = run_->s.regs.sregs;
    system = {};
    system.cs = segment(Seg::Cs), system.ss = segment(Seg::Ss), system.ds = segment(Seg::Ds);
    system.es = segment(Seg::Es), system.fs = segment(Seg::Fs), system.gs = segment(Seg::Gs);
    system.tr = segment(Seg::Tr), system.ldt = segment(Seg::Ldtr);
    system.gdt.base = gdt_at, system.gdt.limit = gdt_limit;
    system.idt.base = idt_at, system.idt.limit = idt_limit;
    system.cr0 = user_cr0, system.cr3 = tables_gpa, system.cr4 = user_cr4, system.efer = user_efer;
    system.apic_base = 0xfee0'0900;  // as after reset: enabled, of the first processor
    const u64* g = job.before.gpr;
    run_->s.regs.regs = {g[rax], g[rbx], g[rcx], g[rdx], g[rsi], g[rdi], g[rsp], g[rbp], g[r8], g[r9], g[r10], g[r11],
                         g[r12], g[r13], g[r14], g[r15], job.before.rip - code_base(job.bits), job.before.rflags};
    run_->kvm_dirty_regs = registers_by_memory;
}

void Kvm::set_float(const FxState& fx) {
    XsaveImage image{};
    std::memcpy(image.bytes, &fx, sizeof fx);
    std::memcpy(image.bytes + sizeof fx, &xcr0_known, 8);  // XSTATE_BV: both are in use
    must(vcpu_->get(), set_xsave, &image, "KVM_SET_XSAVE");
}

void Kvm::enter(Result& result) {
    const auto began = std::chrono::steady_clock::now();
    result.ending = ended;
    while (ioctl(vcpu_->get(), KVM_RUN, 0ul) < 0) {
        if (errno != EINTR) fail("KVM_RUN");
        if (std::chrono::steady_clock::now() - began < longest) continue;
        result.ending = timed_out;
        return;
    }
    if (run_->exit_reason == KVM_EXIT_HLT) return;
    result.ending = unexpected;
    result.error = run_->exit_reason;
}

void Kvm::read_ending(const Job& job, Result& result) {
    const kvm_regs& general = run_->s.regs.regs;
    XsaveImage image;
    must(vcpu_->get(), get_xsave, &image, "KVM_GET_XSAVE");
    std::memcpy(static_cast<void*>(&result.after.fx), image.bytes, sizeof result.after.fx);
    const u64 values[16] = {general.rax, general.rcx, general.rdx, general.rbx, general.rsp, general.rbp,
                            general.rsi, general.rdi, general.r8,  general.r9,  general.r10, general.r11,
                            general.r12, general.r13, general.r14, general.r15};
    std::memcpy(result.after.gpr, values, sizeof values);
    result.after.rip = general.rip;
    result.after.rflags = general.rflags;
    if (result.ending != ended) return;
    const u64 entry = general.rip - handlers_at - 1;  // HLT is done
    if (entry == system_call_entry || entry == system_call32_entry) result.ending = escaped;
    else if (entry < exceptions) read_exception(job, u32(entry), general.rsp, result);
    else result.ending = unexpected;
}

// The frame on the stack of CPL 0: error code where the exception has one, RIP, CS, RFLAGS, RSP, SS.
void Kvm::read_exception(const Job& job, u32 vector, u64 stack_pointer, Result& result) {
    const bool coded = has_error_code(vector);
    const u64 words = coded ? 6 : 5, at = stack_pointer - stack_at;
    if (at != page_bytes - words * 8) {
        result.ending = unexpected;
        return;
    }
    u64 frame[6] = {};
    std::memcpy(frame + (coded ? 0 : 1), space_.memory() + stack_gpa + at, words * 8);
    result.ending = vector;
    result.error = u32(frame[0]);
    result.after.rip = frame[1] + (u16(frame[2]) == code16_selector ? code_base(16) : 0);
    result.after.rflags = frame[3];
    result.after.gpr[rsp] = frame[4];
    if (vector == vector_pf) {
        result.address = run_->s.regs.sregs.cr2;
        if (emulates_ && result.address >= upper_half) result.error &= ~reserved_bit;  // of the tables of a kernel below
    }
    if (vector == vector_ud && result.after.rip == end_for(job.bits)) result.ending = ended;
}

// Whether user code of such a kind runs on the processor: an emulator that does not know EMMS gives #UD.
bool Kvm::leaves_to_processor(unsigned bits, u64 stack_pointer) {
    Program program;
    program.bits = bits;
    program.steps = {Step{.bytes = {0x0f, 0x77}, .length = 2}};
    program.before.rip = slot_address(0);
    program.before.rflags = flag::always;
    program.before.gpr[rsp] = stack_pointer;
    program.before.fx = FxState{};
    write_code(program, code_);
    jobs_[0] = job_of(program);
    run_job(jobs_[0]);
    return jobs_[0].result.ending == ended;
}

// A KVM that is itself emulated (in a virtual machine without nested virtualization) runs 64-bit user code on the
// processor, but puts what faults with #GP, #SS or #UD, and all that has a stack pointer that is not canonical, through
// the kernel's instruction emulator, which is incomplete and has errors of its own. A fault that the software CPU does
// not raise still counts.
bool Kvm::is_doubtful(const Program& program, const Result& own, const Result& soft) const {
    if (!emulates_) return false;
    const auto aside = [](const Registers& r) { return r.gpr[rsp] >= lower_half_end && r.gpr[rsp] < upper_half; };
    if (aside(program.before) || aside(own.after) || aside(soft.after)) return true;
    return soft.ending == vector_gp || soft.ending == vector_ss || soft.ending == vector_ud;
}

}  // namespace silicon::oracle
