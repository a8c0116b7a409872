// TVM pins its main thread to one core, and worker threads that an OpenCL driver creates from it inherit that mask:
// both "devices" would share one core. So drivers are only initialised on a thread that may run on every core.
#pragma once
#include <functional>

namespace coexec {

// Stores the widest CPU mask of any thread of this process; called once when the library is registered, before TVM pins
// its threads.
void remember_affinity();

// Runs `f` on a new thread with that mask and waits for it; rethrows its exception.
void run_unconfined(const std::function<void()>& f);

}  // namespace coexec
