// A signal to the thread that executes a vCPU's instructions outside the software CPU.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include "silicon/x86_64/outside.h"

namespace binding {

class ThreadSignal final : public silicon::x86::Interrupter {
  public:
    // The calling thread is the one; it has the signal blocked but where it is to be interrupted.
    void begin(int signal) { thread_ = this_thread(), signal_ = signal; }
    // What a thread does to itself it sees without being told.
    void interrupt() override {
        if (this_thread() != thread_) syscall(SYS_tgkill, getpid(), thread_, signal_);
    }

  private:
    static int this_thread() {
        thread_local const int id = gettid();
        return id;
    }
    int thread_ = 0, signal_ = 0;
};

}  // namespace binding
