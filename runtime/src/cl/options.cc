#include "options.h"

#include <cstdlib>

#include "cl_error.h"

namespace coexec {
namespace {

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string cache_folder() {
  std::string dir = env("TVM_COEXEC_CACHE_DIR");
  if (dir == "off" || dir == "0") {
    return "";
  }
  if (!dir.empty()) {
    return dir + "/opencl";
  }
  dir = env("XDG_CACHE_HOME");
  if (!dir.empty() && dir[0] == '/') {
    return dir + "/tvm_coexec/opencl";
  }
  dir = env("HOME");
  return dir.empty() ? "" : dir + "/.cache/tvm_coexec/opencl";
}

MemoryMode parse_memory(const std::string& text) {
  if (text.empty() || text == "auto") {
    return MemoryMode::kAuto;
  }
  for (MemoryMode mode : {MemoryMode::kBuffer, MemoryMode::kCoarseSvm, MemoryMode::kFineSvm, MemoryMode::kHostPtr}) {
    if (text == memory_mode_name(mode)) {
      return mode;
    }
  }
  throw Error("TVM_COEXEC_OPENCL_MEMORY is '" + text + "': it must be auto, buffer, coarse, fine or hostptr");
}

WaitMethod parse_wait(const std::string& text) {
  if (text.empty()) {
    return WaitMethod::kAuto;
  }
  for (WaitMethod method : {WaitMethod::kAuto, WaitMethod::kEvent, WaitMethod::kPoll, WaitMethod::kFlag}) {
    if (text == wait_method_name(method)) {
      return method;
    }
  }
  throw Error("TVM_COEXEC_OPENCL_WAIT is '" + text + "': it must be auto, event, poll or flag");
}

bool g_blocking_copies = false;

bool parse_copies(const std::string& text) {
  if (text == "blocking") {
    return true;
  }
  if (text.empty() || text == "ordered") {
    return g_blocking_copies;
  }
  throw Error("TVM_COEXEC_OPENCL_COPIES is '" + text + "': it must be ordered or blocking");
}

bool parse_switch(const char* name) {
  const std::string text = env(name);
  if (text.empty() || text == "0" || text == "off") {
    return false;
  }
  if (text == "1" || text == "on") {
    return true;
  }
  throw Error(std::string(name) + " is '" + text + "': it must be 0 or 1");
}

}  // namespace

const char* memory_mode_name(MemoryMode mode) {
  switch (mode) {
    case MemoryMode::kAuto:
      return "auto";
    case MemoryMode::kBuffer:
      return "buffer";
    case MemoryMode::kCoarseSvm:
      return "coarse";
    case MemoryMode::kFineSvm:
      return "fine";
    case MemoryMode::kHostPtr:
      return "hostptr";
  }
  return "?";
}

const char* wait_method_name(WaitMethod method) {
  switch (method) {
    case WaitMethod::kAuto:
      return "auto";
    case WaitMethod::kEvent:
      return "event";
    case WaitMethod::kPoll:
      return "poll";
    case WaitMethod::kFlag:
      return "flag";
  }
  return "?";
}

void set_blocking_copies() {
  g_blocking_copies = true;
}

Options Options::from_environment() {
  Options o;
  const std::string devices = env("TVM_COEXEC_OPENCL_DEVICES");
  if (!devices.empty()) {
    o.devices = devices;
  }
  o.memory = parse_memory(env("TVM_COEXEC_OPENCL_MEMORY"));
  o.build_options = env("TVM_COEXEC_OPENCL_BUILD_OPTIONS");
  o.wait = parse_wait(env("TVM_COEXEC_OPENCL_WAIT"));
  o.blocking_copies = parse_copies(env("TVM_COEXEC_OPENCL_COPIES"));
  if (o.blocking_copies) {
    if (o.memory != MemoryMode::kAuto && o.memory != MemoryMode::kBuffer) {
      throw Error(std::string("TVM_COEXEC_OPENCL_MEMORY is ") + memory_mode_name(o.memory) +
                  ", but blocking copies need buffer: leave it unset, or set TVM_COEXEC_OPENCL_COPIES=ordered");
    }
    o.memory = MemoryMode::kBuffer;
  }
  o.profile = parse_switch("TVM_COEXEC_OPENCL_PROFILE");
  const std::string staging = env("TVM_COEXEC_OPENCL_STAGING_MB");
  if (!staging.empty()) {
    char* end = nullptr;
    const long mb = std::strtol(staging.c_str(), &end, 10);
    if (*end || mb < 0 || mb > 1 << 20) {
      throw Error("TVM_COEXEC_OPENCL_STAGING_MB is '" + staging + "': it must be an integer from 0 to 1048576 (MiB)");
    }
    o.staging_limit_bytes = static_cast<size_t>(mb) << 20;
  }
  o.faults = env("TVM_COEXEC_OPENCL_FAULTS");
  o.cache_dir = cache_folder();
  o.cache_wanted = !o.cache_dir.empty() && !env("TVM_COEXEC_CACHE_DIR").empty();
  return o;
}

}  // namespace coexec
