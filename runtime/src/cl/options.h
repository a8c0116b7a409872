// Options from environment variables; read once, when a device of the API is first used. For Vulkan the names have
// VULKAN in place of OPENCL.
#pragma once
#include <cstddef>
#include <string>

#include "cl_api.h"

namespace coexec {

enum class MemoryMode { kAuto, kBuffer, kCoarseSvm, kFineSvm, kHostPtr };

const char* memory_mode_name(MemoryMode mode);

// How the host waits for a kernel whose result it reads in shared memory.
//   event  clWaitForEvents: the thread sleeps
//   poll   polls the event's status
//   flag   a small kernel, enqueued after the awaited one, sets a number in fine-grained memory, which the host polls
enum class WaitMethod { kAuto, kEvent, kPoll, kFlag };

const char* wait_method_name(WaitMethod method);

struct Options {
  std::string devices = "all";              // TVM_COEXEC_OPENCL_DEVICES
  MemoryMode memory = MemoryMode::kAuto;    // TVM_COEXEC_OPENCL_MEMORY
  std::string build_options;                // TVM_COEXEC_OPENCL_BUILD_OPTIONS
  WaitMethod wait = WaitMethod::kAuto;      // TVM_COEXEC_OPENCL_WAIT
  bool blocking_copies = false;             // TVM_COEXEC_OPENCL_COPIES, see blocking_copy.h
  bool profile = false;                     // TVM_COEXEC_OPENCL_PROFILE
  size_t staging_limit_bytes = 256u << 20;  // TVM_COEXEC_OPENCL_STAGING_MB
  std::string cache_dir;                    // TVM_COEXEC_CACHE_DIR; empty: no cache on disk
  bool cache_wanted = false;                // cache_dir was set by the user
  std::string faults;                       // TVM_COEXEC_OPENCL_FAULTS, for tests

  // Throws an Error that names the variable and its allowed values.
  static Options from_environment(Api api);
};

void set_blocking_copies();  // overrides the environment; before OpenCL is first used

}  // namespace coexec
