// runtime_device_tests: like the unit tests, on the first OpenCL device; exit code 77 with the reason when there is
// none.
#include <cstdio>

#include "arrays.h"
#include "check.h"
#include "exec/signal.h"

int main() {
  const std::string reason = coexec::Workspace::why_unavailable();
  if (!reason.empty()) {
    std::printf("%s\n", reason.c_str());
    return 77;
  }
  std::printf("on %s, memory mode %s\n", coexec::device().text().c_str(), coexec::device().memory_name().c_str());
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
