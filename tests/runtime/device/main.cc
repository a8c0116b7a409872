// runtime_device_tests: like the unit tests, on the first device of an API
// (arrays.h); exit code 77 with the reason when there is none.
#include <cstdio>
#include <cstring>

#include "arrays.h"
#include "check.h"
#include "exec/signal.h"

namespace {

// Leaks for the test of how they are found: of memory, and of objects of the driver.
__attribute__((noinline)) void lose_memory() {
  auto* volatile lost = new std::vector<char>(1000);
  lost = nullptr;
}

void lose_events() {
  coexec::Device& device = coexec::device();
  for (int i = 0; i < 100; ++i) {
    coexec::cl_event event = nullptr;
    if (coexec::device().driver().EnqueueMarkerWithWaitList(
            device.compute().handle, 0, nullptr, &event) ==
        coexec::CL_SUCCESS) {
      coexec::device().driver().WaitForEvents(1, &event);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string reason =
      coexec::Workspace::why_unavailable(coexec::tested_api());
  if (!reason.empty()) {
    std::printf("%s\n", reason.c_str());
    return 77;
  }
  std::printf("on %s, memory mode %s\n", coexec::device().text().c_str(), coexec::device().memory_name().c_str());
  if (argc == 3 && std::strcmp(argv[1], "lose") == 0) {
    std::strcmp(argv[2], "memory") == 0 ? lose_memory() : lose_events();
    std::printf("0 tests, 0 failed\n");
    return 0;
  }
  coexec::Signals::of(coexec::device()).method();  // its flag stays for good
  int failed = 0;
  for (const Test& t : tests()) {
    const int64_t live = coexec::live_bytes();
    std::string wrong;
    try {
      t.run();
      if (coexec::live_bytes() != live) {
        wrong = ": memory on the device was not given back";
      }
    } catch (const std::exception& e) {
      wrong = std::string(" line ") + e.what();
    }
    coexec::faults::clear();
    failed += !wrong.empty();
    std::printf("%s %s.%s%s\n", wrong.empty() ? "ok  " : "FAIL", t.group.c_str(), t.name.c_str(), wrong.c_str());
    std::fflush(stdout);
  }
  std::printf("%zu tests, %d failed\n", tests().size(), failed);
  return failed != 0 || tests().empty();
}
