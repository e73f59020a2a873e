#include "silicon/oracle/host_child.h"

#include <asm/ldt.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "silicon/oracle/fx_state.h"
#include "silicon/oracle/images.h"
#include "silicon/x86_64/host_float.h"

namespace silicon::oracle {

namespace {

// At `state_at`. The stubs below use these offsets as absolute addresses.
struct State {
    u64 gpr[16];
    u64 rip;
    u64 rflags;
    u64 host_rsp;
    u64 host_fs;
    u64 inside;  // 1 while a program runs
    u64 data_selector;
    u32 far_offset;  // 32-bit programs are entered by a far jump
    u16 far_selector;
    u16 pad;
    u64 sets_fs;
    u64 stack_selector;
    u32 own_mxcsr;
    alignas(256) x86::FxState fx_before;
    alignas(256) x86::FxState fx_after;
};
static_assert(offsetof(State, rip) == 0x80 && offsetof(State, rflags) == 0x88 && offsetof(State, host_rsp) == 0x90);
static_assert(offsetof(State, host_fs) == 0x98 && offsetof(State, inside) == 0xa0 &&
              offsetof(State, data_selector) == 0xa8);
static_assert(offsetof(State, far_offset) == 0xb0 && offsetof(State, sets_fs) == 0xb8);
static_assert(offsetof(State, stack_selector) == 0xc0 && offsetof(State, own_mxcsr) == 0xc8);
static_assert(offsetof(State, fx_before) == 0x100 && offsetof(State, fx_after) == 0x300);
static_assert(state_at == 0x1ffe0000 && end_at == 0x1fff0000);

}  // namespace

// Enter: remember the host's stack and FS base, take the program's registers, jump. The end stub is copied to `end_at`:
// it keeps the registers without touching the flags, then goes back to who called enter, x87 and MXCSR as C++ has
// them. GCC's own registers are saved on the host's stack. `oracle_recover` is where a signal handler returns to after
// a fault.
asm(R"(
    .set S, 0x1ffe0000
    .macro oracle_load
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, S+0x90
    cmpq $0, S+0xb8
    je 1f
    rdfsbase %rax
    mov %rax, S+0x98
    xor %eax, %eax
    wrfsbase %rax
1:  fxrstor64 S+0x100
    mov S+0xa8, %eax
    mov %eax, %ds
    mov %eax, %es
    movq $1, S+0xa0
    mov S+0xc0, %eax
    mov %eax, %ss
    mov $(S+0x88), %esp
    popfq
    mov S+0x00, %rax
    mov S+0x08, %rcx
    mov S+0x10, %rdx
    mov S+0x18, %rbx
    mov S+0x28, %rbp
    mov S+0x30, %rsi
    mov S+0x38, %rdi
    mov S+0x40, %r8
    mov S+0x48, %r9
    mov S+0x50, %r10
    mov S+0x58, %r11
    mov S+0x60, %r12
    mov S+0x68, %r13
    mov S+0x70, %r14
    mov S+0x78, %r15
    mov S+0x20, %rsp
    .endm

    .text
    .hidden oracle_enter, oracle_enter32, oracle_end, oracle_recover, oracle_stubs_end
    .globl oracle_enter, oracle_enter32, oracle_end, oracle_recover, oracle_stubs_end
oracle_enter:
    oracle_load
    jmp *S+0x80
oracle_enter32:
    oracle_load
    ljmpl *S+0xb0

oracle_end:
    mov %rax, S+0x00
    mov %rcx, S+0x08
    mov %rdx, S+0x10
    mov %rbx, S+0x18
    mov %rsp, S+0x20
    mov %rbp, S+0x28
    mov %rsi, S+0x30
    mov %rdi, S+0x38
    mov %r8, S+0x40
    mov %r9, S+0x48
    mov %r10, S+0x50
    mov %r11, S+0x58
    mov %r12, S+0x60
    mov %r13, S+0x68
    mov %r14, S+0x70
    mov %r15, S+0x78
    fxsave64 S+0x300
    mov $0x2b, %eax
    mov %eax, %ss
    mov $(S+0x1000), %esp
    pushfq
    popq S+0x88
oracle_recover:
    mov $(S+0x1000), %esp
    push $0x202
    popfq
    movq $0, S+0xa0
    fninit
    ldmxcsr S+0xc8
    cmpq $0, S+0xb8
    je 1f
    mov S+0x98, %rax
    wrfsbase %rax
1:  mov S+0x90, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
oracle_stubs_end:
)");

extern "C" {
void oracle_enter();
void oracle_enter32();
extern const u8 oracle_end[], oracle_recover[], oracle_stubs_end[];
}

bool child_has_fs_base() { return getauxval(AT_HWCAP2) & 2; }

namespace {

ChildShared* the_shared;
Result* the_result;
State& state() { return *reinterpret_cast<State*>(state_at); }
u8* data_page(u64 n) { return reinterpret_cast<u8*>(data_at + n * page_bytes); }

constexpr int own_registers[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

[[noreturn]] void die(const char* what) {
    if (write(2, what, std::strlen(what)) < 0) _exit(4);
    _exit(3);
}

void on_signal(int number, siginfo_t*, void* context) {
    asm volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "memory", "cc");  // AC is the program's
    State& s = state();
    if (!s.inside) {
        if (number == SIGALRM) return;
        die("oracle: the bare-host child itself faulted\n");
    }
    if (s.sets_fs) asm volatile("wrfsbase %0" ::"r"(s.host_fs));
    s.inside = 0;
    auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
    auto& gregs = machine.gregs;
    Result& r = *the_result;
    static_assert(sizeof *machine.fpregs == sizeof r.after.fx);
    std::memcpy(static_cast<void*>(&r.after.fx), machine.fpregs, sizeof r.after.fx);
    for (unsigned n = 0; n < 16; ++n) r.after.gpr[n] = static_cast<u64>(gregs[own_registers[n]]);
    r.after.rip = static_cast<u64>(gregs[REG_RIP]);
    if ((gregs[REG_CSGSFS] & 0xffff) == code16_selector) r.after.rip += code_base(16);
    r.after.rflags = static_cast<u64>(gregs[REG_EFL]);
    r.ending = number == SIGALRM  ? u32{timed_out}
               : number == SIGSYS ? u32{escaped}
                                  : static_cast<u32>(gregs[REG_TRAPNO]);
    r.error = static_cast<u32>(gregs[REG_ERR]);
    r.address = static_cast<u64>(gregs[REG_CR2]);
    gregs[REG_RIP] = static_cast<greg_t>(recover_at);
    gregs[REG_RSP] = static_cast<greg_t>(state_at + page_bytes);
    gregs[REG_EFL] = 0x202;
    gregs[REG_CSGSFS] = (gregs[REG_CSGSFS] & 0x0000'ffff'ffff'0000ll) | 0x33 | 0x2bll << 48;
}

void arm_timer() {
    const itimerval limit{{2, 0}, {2, 0}};
    setitimer(ITIMER_REAL, &limit, nullptr);
}

void run_job(Job& job) {
    State& s = state();
    the_result = &job.result;
    std::memcpy(s.gpr, job.before.gpr, sizeof s.gpr);
    s.rip = job.before.rip;
    s.rflags = job.before.rflags;
    s.data_selector = job.bits == 64 ? 0 : job.bits == 32 ? 0x2b : data16_selector;
    s.stack_selector = job.bits == 16 ? data16_selector : 0x2b;
    s.fx_before = job.before.fx;
    s.far_offset = static_cast<u32>(job.before.rip - code_base(job.bits));
    s.far_selector = job.bits == 16 ? code16_selector : 0x23;
    for (const Change& patch : job.patches)
        if (patch.address) std::memcpy(reinterpret_cast<void*>(patch.address), &patch.value, 8);
    Result& r = job.result;
    r.ending = ended;
    r.error = 0;
    r.address = 0;
    if (job.bits == 64) oracle_enter();
    else oracle_enter32();
    if (r.ending == ended) {
        std::memcpy(r.after.gpr, s.gpr, sizeof s.gpr);
        r.after.rflags = s.rflags;
        r.after.rip = end_for(job.bits);
        r.after.fx = s.fx_after;
    }
    if (job.has_image) forget_open_fields(job.image, the_shared->pattern, host_keeps_pointers(), data_page);
    collect_changes(the_shared->pattern, data_page, r);
}

void place(u64 at, u64 size, int protection, int flags, int file) {
    void* want = reinterpret_cast<void*>(at);
    if (mmap(want, size, protection, flags | MAP_FIXED_NOREPLACE | MAP_POPULATE, file, 0) != want)
        die("oracle: a fixed address of the bare-host child is taken\n");
}

void place_pages(int code_file) {
    constexpr int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    place(state_at, page_bytes, PROT_READ | PROT_WRITE, anonymous, -1);
    place(end_at, page_bytes, PROT_READ | PROT_WRITE, anonymous, -1);
    place(code_at, code_bytes, PROT_READ | PROT_EXEC, MAP_SHARED, code_file);
    for (u64 n = 0; n < data_pages; ++n)
        if (n != absent_page) place(data_at + n * page_bytes, page_bytes, PROT_READ | PROT_WRITE, anonymous, -1);
    auto* end = reinterpret_cast<u8*>(end_at);
    std::memcpy(end, oracle_end, static_cast<size_t>(oracle_stubs_end - oracle_end));
    std::memcpy(reinterpret_cast<void*>(recover_at), oracle_recover,
                static_cast<size_t>(oracle_stubs_end - oracle_recover));
    const u8 far_jump[] = {0xea, 0x00, 0x00, 0xff, 0x1f, 0x33, 0x00};  // jmp 0x33:end_at
    std::memcpy(reinterpret_cast<void*>(end32_at), far_jump, sizeof far_jump);
    mprotect(end, page_bytes, PROT_READ | PROT_EXEC);
    State& s = state();
    s.sets_fs = child_has_fs_base();
    s.own_mxcsr = x86::mxcsr::initial;
}

// The segments of 16-bit code. False: this kernel has no modify_ldt.
bool make_16_bit_segments() {
    user_desc code{}, data{};
    code.base_addr = code_at;
    data.entry_number = 1;
    data.base_addr = data_at;
    code.limit = data.limit = 0xffff;
    code.contents = 2;  // code, readable
    code.useable = data.useable = 1;
    return syscall(SYS_modify_ldt, 1, &code, sizeof code) == 0 && syscall(SYS_modify_ldt, 1, &data, sizeof data) == 0;
}

void catch_signals() {
    constexpr size_t stack_bytes = 256 * 1024;
    void* memory = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) die("oracle: no memory for the signal stack\n");
    const stack_t stack{memory, 0, stack_bytes};
    sigaltstack(&stack, nullptr);
    struct sigaction action{};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGALRM, SIGSYS})
        sigaction(number, &action, nullptr);
}

// A program that goes astray may find a SYSCALL or INT 0x80 among its bytes: only what the child needs is let through.
void forbid_system_calls() {
    constexpr unsigned allowed[] = {SYS_read, SYS_write, SYS_rt_sigreturn, SYS_mprotect, SYS_setitimer, SYS_exit_group};
    constexpr u32 count = sizeof allowed / sizeof allowed[0];
    sock_filter filter[count + 5] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, count + 1),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
    };
    for (u32 n = 0; n < count; ++n)
        filter[3 + n] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[n], static_cast<u8>(count - n), 0);
    filter[3 + count] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    filter[4 + count] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const sock_fprog program{count + 5, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        die("oracle: the bare-host child cannot forbid system calls to itself\n");
}

void take_pattern() {
    void* read_only = data_page(read_only_page);
    mprotect(read_only, page_bytes, PROT_READ | PROT_WRITE);
    for (u64 n = 0; n < data_pages; ++n)
        if (n != absent_page) std::memcpy(data_page(n), the_shared->pattern.data() + n * page_bytes, page_bytes);
    mprotect(read_only, page_bytes, PROT_READ);
}

}  // namespace

void child_main(ChildShared& shared, int code_file, int commands, int answers) {
    the_shared = &shared;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN);  // the parent ends it
    place_pages(code_file);
    catch_signals();
    shared.has_16_bits = make_16_bit_segments();
    forbid_system_calls();
    u32 stamp = ~shared.pattern_stamp;
    for (char done = 1;;) {
        if (write(answers, &done, 1) != 1) _exit(0);
        u32 jobs;
        if (read(commands, &jobs, sizeof jobs) != sizeof jobs) _exit(0);
        if (stamp != shared.pattern_stamp) {
            take_pattern();
            stamp = shared.pattern_stamp;
        }
        arm_timer();
        for (u32 n = 0; n < jobs; ++n) {
            shared.current = n;
            run_job(shared.jobs[n]);
        }
    }
}

}  // namespace silicon::oracle
