// TVM pins its main thread to one core. Worker threads that an OpenCL driver creates from it would inherit this mask,
// and a CPU driver would share one core with TVM. So drivers are initialised only on a thread that may run on every
// core.
#pragma once
#include <functional>

namespace coexec {

// Stores the union of the CPU masks of this process's threads. Called when the library is registered, before TVM pins
// threads.
void remember_affinity();

// Runs `f` on a new thread with the stored mask and waits for it; rethrows its exception.
void run_unconfined(const std::function<void()>& f);

}  // namespace coexec
