// A signal to the thread that executes a vCPU's instructions outside the software CPU.
#pragma once

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "silicon/x86_64/outside.h"

namespace binding {

class ThreadSignal final : public silicon::x86::Interrupter {
  public:
    // The calling thread is the one; it has the signal blocked but where it is to be interrupted.
    void begin(int signal) { self_ = pthread_self(), thread_ = gettid(), signal_ = signal; }
    // What a thread does to itself it sees without being told.
    void interrupt() override {
        if (!pthread_equal(pthread_self(), self_)) syscall(SYS_tgkill, getpid(), thread_, signal_);
    }

  private:
    pthread_t self_{};
    int thread_ = 0, signal_ = 0;  // asked for at each beginning: a thread that has forked has another number in the child
};

}  // namespace binding
