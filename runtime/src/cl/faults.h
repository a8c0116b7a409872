// Fault injection for tests: a second table of the driver's functions, whose calls fail on request. While no fault was
// ever requested, it costs cl() one relaxed load. runtime/README.md describes the faults.
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

// From now on the `nth` such call (1: the next) and the `count` - 1 after it fail; a negative count: all of them, until
// clear(). `what`: build, allocate, launch, copy, event (a command is accepted and fails) or lost (the device is gone:
// any call). `code` 0: the usual error of the call. Error for an unknown `what`.
void inject(const std::string& what, int64_t nth, int64_t count, cl_int code);
// Random delays of up to `limit_us` in a quarter of all calls and in the start of commands on the device.
void delay(int64_t limit_us, uint64_t seed);
// "launch:3:1:-5,delay:500:7": nth, count and code, or limit and seed; trailing numbers may be omitted.
void inject_text(const std::string& text);
void clear();
// Number of calls that failed this way (for "delay": that were delayed) since the start.
uint64_t hits(const std::string& what);

}  // namespace faults
}  // namespace coexec
