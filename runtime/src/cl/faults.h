// Failures on demand, for tests: a second table of the driver's functions whose calls fail where they were told to.
// While nothing was ever asked for it costs cl() one relaxed load. See runtime/README.md for what each stands for.
#pragma once
#include <atomic>
#include <string>

#include "cl_api.h"

namespace coexec {
namespace faults {

extern std::atomic<bool> g_active;
inline bool active() {
  return g_active.load(std::memory_order_relaxed);
}

// A copy of the table with faults in front of it; `real` must stay valid. Called once, when the library is opened.
ClApi wrap(const ClApi& real);

// From now on the `nth` such call (1: the next) and the `count` - 1 behind it fail; a count below 0: all of them, until
// clear(). `what`: build, allocate, launch, copy, event (a command is accepted and ends badly) or lost (the device is
// gone: any call). `code` 0: the error that is usual there. Error for a word that isn't one of these.
void inject(const std::string& what, int64_t nth, int64_t count, cl_int code);
// Random waits of up to `limit_us` in a quarter of all calls, and commands that the device starts that much later.
void delay(int64_t limit_us, uint64_t seed);
// "launch:3:1:-5,delay:500:7": nth, count and code, or limit and seed, which may be left out from the end.
void inject_text(const std::string& text);
void clear();
// Calls that have failed that way (for "delay": that were held up) since the start.
uint64_t hits(const std::string& what);

}  // namespace faults
}  // namespace coexec
