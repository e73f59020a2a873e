// Whether a thread has ended. Python's own bookkeeping cannot tell of threads that C made: their state is kept until another
// new thread calls.
#include <atomic>
#include <memory>

#include "bindings/common.h"

namespace binding {
namespace {

// One a thread; its destructor runs as the thread ends, before anybody who joins it goes on.
struct Life {
    std::shared_ptr<std::atomic<bool>> over = std::make_shared<std::atomic<bool>>(false);
    Life() = default;
    Life(const Life&) = delete;
    Life& operator=(const Life&) = delete;
    ~Life() { over->store(true); }
};

class ThreadLife {
   public:
    ThreadLife() {
        static thread_local const Life here;
        over_ = here.over;
    }
    bool over() const { return over_->load(); }

   private:
    std::shared_ptr<const std::atomic<bool>> over_;
};

}  // namespace

void bind_thread_life(nb::module_& module) {
    nb::class_<ThreadLife>(module, "ThreadLife").def(nb::init<>()).def_prop_ro("over", &ThreadLife::over);
}

}  // namespace binding
