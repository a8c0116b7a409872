// What a user can set through the environment; read once, when OpenCL is first used.
#pragma once
#include <cstddef>
#include <string>

namespace coexec {

enum class MemoryMode { kAuto, kBuffer, kCoarseSvm, kFineSvm, kHostPtr };

const char* memory_mode_name(MemoryMode mode);

// How the host waits for a kernel whose result it takes over in memory that both see.
//   event  clWaitForEvents: the thread sleeps
//   poll   asks for the event's status again and again
//   flag   a tiny kernel behind the one in question sets a number in fine-grained memory, at which the host looks
enum class WaitMethod { kAuto, kEvent, kPoll, kFlag };

const char* wait_method_name(WaitMethod method);

struct Options {
  std::string devices = "all";              // TVM_COEXEC_OPENCL_DEVICES
  MemoryMode memory = MemoryMode::kAuto;    // TVM_COEXEC_OPENCL_MEMORY
  std::string build_options;                // TVM_COEXEC_OPENCL_BUILD_OPTIONS
  WaitMethod wait = WaitMethod::kAuto;      // TVM_COEXEC_OPENCL_WAIT
  bool profile = false;                     // TVM_COEXEC_OPENCL_PROFILE
  size_t staging_limit_bytes = 256u << 20;  // TVM_COEXEC_OPENCL_STAGING_MB
  std::string cache_dir;                    // TVM_COEXEC_CACHE_DIR; empty: no cache on disk
  bool cache_wanted = false;                // it was named by the user, not found by default
  std::string faults;                       // TVM_COEXEC_OPENCL_FAULTS, for tests

  // Throws Error that names the variable and what it may be.
  static Options from_environment();
};

}  // namespace coexec
