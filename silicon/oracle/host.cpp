#include "silicon/oracle/host.h"

#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <stdexcept>

#include "silicon/oracle/host_child.h"
#include "silicon/x86_64/event.h"

namespace silicon::oracle {

namespace {

[[noreturn]] void fail(const char* what) { throw std::runtime_error(std::string(what) + ": " + std::strerror(errno)); }

void* must_map(size_t size, int protection, int flags, int file, const char* what) {
    void* at = mmap(nullptr, size, protection, flags, file, 0);
    if (at == MAP_FAILED) fail(what);
    return at;
}

}  // namespace

struct Host::Shared : ChildShared {};

Host::Host() {
    code_file_ = memfd_create("oracle-code", MFD_CLOEXEC);
    if (code_file_ < 0 || ftruncate(code_file_, code_bytes) != 0) fail("memory for the code of programs");
    code_ = static_cast<u8*>(must_map(code_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, code_file_, "mapping the code"));
    void* shared = must_map(sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, "mapping the jobs");
    shared_ = new (shared) Shared;
    spawn();
}

Host::~Host() {
    reap();
    munmap(shared_, sizeof(Shared));
    munmap(code_, code_bytes);
    close(code_file_);
}

Job& Host::job(unsigned n) const { return shared_->jobs[n]; }
Pattern& Host::pattern() const { return shared_->pattern; }
void Host::pattern_changed() { ++shared_->pattern_stamp; }
bool Host::judges(unsigned bits) const { return bits != 16 || shared_->has_16_bits; }
bool Host::has_fs_base() const { return child_has_fs_base(); }

double Host::cpu_seconds() const {
    clockid_t clock;
    timespec used{};
    if (clock_getcpuclockid(child_, &clock) == 0) clock_gettime(clock, &used);
    return double(used.tv_sec) + double(used.tv_nsec) * 1e-9;
}

void Host::spawn() {
    int down[2], up[2];
    if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0) fail("pipes to the child");
    std::fflush(nullptr);
    child_ = fork();
    if (child_ < 0) fail("fork");
    if (child_ == 0) {
        close(down[1]);
        close(up[0]);
        child_main(*shared_, code_file_, down[0], up[1]);  // does not return
    }
    close(down[0]);
    close(up[1]);
    to_child_ = down[1];
    from_child_ = up[0];
    char ready;
    if (read(from_child_, &ready, 1) != 1) {
        reap();
        throw std::runtime_error(
            "the bare-host child did not start: it could not map its pages at the fixed addresses");
    }
    read_own_ranges();
}

void Host::reap() {
    if (child_ < 0) return;
    close(to_child_);
    close(from_child_);
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = -1;
}

void Host::start(unsigned jobs) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const u32 word = jobs;
    if (write(to_child_, &word, sizeof word) != sizeof word) std::perror("oracle: telling the child");
}

bool Host::wait(std::string& why) {
    char done;
    if (read(from_child_, &done, 1) == 1) return true;
    int status = 0;
    waitpid(child_, &status, 0);
    why = WIFSIGNALED(status) ? std::string("killed by ") + strsignal(WTERMSIG(status))
                              : "exit code " + std::to_string(WEXITSTATUS(status));
    why += " in job " + std::to_string(shared_->current);
    close(to_child_);
    close(from_child_);
    child_ = -1;
    spawn();
    return false;
}

// Everything in the child's map but the pages that both sides have.
void Host::read_own_ranges() {
    own_.clear();
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%d/maps", child_);
    std::FILE* maps = std::fopen(path, "r");
    if (!maps) fail(path);
    char line[512];
    while (std::fgets(line, sizeof line, maps)) {
        unsigned long begin, end;
        if (std::sscanf(line, "%lx-%lx", &begin, &end) != 2) continue;
        const bool both =
            (begin >= code_at && end <= code_at + code_bytes) || (begin >= data_at && end <= data_at + data_bytes);
        if (!both) own_.push_back({begin, end});
    }
    std::fclose(maps);
}

bool Host::is_doubtful(const Program&, const Result&, const Result& soft) const {
    return soft.ending == x86::vector_pf && is_own(soft.address);
}

bool Host::is_own(u64 address) const {
    for (const OwnRange& range : own_)
        if (address + 64 > range.begin && address < range.end + 64) return true;
    return false;
}

}  // namespace silicon::oracle
