// TVM pins its main thread to one core, and OpenCL drivers that create their worker threads from it inherit that mask:
// both "devices" would share a core and nothing would overlap. So drivers are only ever initialised on a thread that
// may run everywhere.
#pragma once
#include <functional>

namespace coexec {

// Remembers the widest CPU mask of any thread of this process; called once when the library is registered, before TVM
// has pinned.
void remember_affinity();

// Runs `f` on a fresh thread with that mask and waits for it; an exception is rethrown here.
void run_unconfined(const std::function<void()>& f);

}  // namespace coexec
