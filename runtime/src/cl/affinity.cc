#include "affinity.h"

#include <dirent.h>
#include <sched.h>

#include <cstdlib>
#include <exception>
#include <thread>

namespace coexec {
namespace {

cpu_set_t g_mask;
bool g_known = false;

}  // namespace

void remember_affinity() {
  CPU_ZERO(&g_mask);
  if (DIR* dir = opendir("/proc/self/task")) {
    while (dirent* entry = readdir(dir)) {
      cpu_set_t one;
      const int tid = std::atoi(entry->d_name);
      if (tid > 0 && sched_getaffinity(tid, sizeof one, &one) == 0) {
        CPU_OR(&g_mask, &g_mask, &one);
      }
    }
    closedir(dir);
  }
  if (CPU_COUNT(&g_mask) <= 1) {
    // Either the machine has one core, or TVM has already pinned its only thread: allow every core. The kernel
    // intersects this with the cores that the process's cpuset allows.
    for (int i = 0; i < CPU_SETSIZE; ++i) {
      CPU_SET(i, &g_mask);
    }
  }
  g_known = true;
}

void run_unconfined(const std::function<void()>& f) {
  std::exception_ptr error;
  std::thread helper([&] {
    if (g_known) {
      sched_setaffinity(0, sizeof g_mask, &g_mask);  // if this is not permitted, the inherited mask is kept
    }
    try {
      f();
    } catch (...) {
      error = std::current_exception();
    }
  });
  helper.join();
  if (error) {
    std::rethrow_exception(error);
  }
}

}  // namespace coexec
