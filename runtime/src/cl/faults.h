// Fault injection for tests: a second table of the driver's functions, whose calls fail on request. As long as no fault
// is requested, it costs cl() one relaxed load. runtime/README.md describes the faults.
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

// A copy of the API's table whose functions inject faults; `real` must stay valid. Called once, when the library is
// opened.
ClApi wrap(Api api, const ClApi& real);

// Makes the `nth` call from now on (1: the next) and the `count` - 1 after it fail; a negative count: all, until
// clear(). `what`: build, allocate, launch, copy, event (a command is accepted and fails) or lost (the device is lost:
// any call fails). `code` 0: the default error of the call. Error for an unknown `what`.
void inject(const std::string& what, int64_t nth, int64_t count, cl_int code);
// Delays a quarter of all calls, and of all commands on the device, by up to `limit_us`.
void delay(int64_t limit_us, uint64_t seed);
// "launch:3:1:-5,delay:500:7": nth, count and code, or limit and seed; trailing numbers may be omitted.
void inject_text(const std::string& text);
void clear();
// Number of calls since the start that failed in this way (for "delay": that were delayed).
uint64_t hits(const std::string& what);

}  // namespace faults
}  // namespace coexec
