#include "options.h"

#include <cstdlib>

#include "cl_error.h"

namespace coexec {
namespace {

std::string env(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? value : "";
}

std::string cache_folder(Api api) {
  const std::string name = api_name(api);
  std::string dir = env("TVM_COEXEC_CACHE_DIR");
  if (dir == "off" || dir == "0") {
    return "";
  }
  if (!dir.empty()) {
    return dir + "/" + name;
  }
  dir = env("XDG_CACHE_HOME");
  if (!dir.empty() && dir[0] == '/') {
    return dir + "/tvm_coexec/" + name;
  }
  dir = env("HOME");
  return dir.empty() ? "" : dir + "/.cache/tvm_coexec/" + name;
}

std::string variable(Api api, const char* what) {
  return std::string(api == Api::kOpenCL ? "TVM_COEXEC_OPENCL_" : "TVM_COEXEC_VULKAN_") + what;
}

MemoryMode parse_memory(Api api) {
  const std::string name = variable(api, "MEMORY"), text = env(name);
  if (text.empty() || text == "auto") {
    return MemoryMode::kAuto;
  }
  for (MemoryMode mode : {MemoryMode::kBuffer, MemoryMode::kCoarseSvm, MemoryMode::kFineSvm, MemoryMode::kHostPtr}) {
    if (text == memory_mode_name(mode)) {
      return mode;
    }
  }
  throw Error(name + " is '" + text + "': it must be auto, buffer, coarse, fine or hostptr");
}

WaitMethod parse_wait(Api api) {
  const std::string name = variable(api, "WAIT"), text = env(name);
  if (text.empty()) {
    return WaitMethod::kAuto;
  }
  for (WaitMethod method : {WaitMethod::kAuto, WaitMethod::kEvent, WaitMethod::kPoll, WaitMethod::kFlag}) {
    if (text == wait_method_name(method)) {
      return method;
    }
  }
  throw Error(name + " is '" + text + "': it must be auto, event, poll or flag");
}

bool g_blocking_copies = false;

bool parse_copies(Api api) {
  const std::string name = variable(api, "COPIES"), text = env(name);
  if (text == "blocking") {
    return true;
  }
  if (text.empty() || text == "ordered") {
    return g_blocking_copies && api == Api::kOpenCL;
  }
  throw Error(name + " is '" + text + "': it must be ordered or blocking");
}

bool parse_switch(const std::string& name) {
  const std::string text = env(name);
  if (text.empty() || text == "0" || text == "off") {
    return false;
  }
  if (text == "1" || text == "on") {
    return true;
  }
  throw Error(name + " is '" + text + "': it must be 0 or 1");
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

Options Options::from_environment(Api api) {
  Options o;
  const std::string devices = env(variable(api, "DEVICES"));
  if (!devices.empty()) {
    o.devices = devices;
  }
  o.memory = parse_memory(api);
  o.build_options = env(variable(api, "BUILD_OPTIONS"));
  o.wait = parse_wait(api);
  o.blocking_copies = parse_copies(api);
  if (o.blocking_copies) {
    if (o.memory != MemoryMode::kAuto && o.memory != MemoryMode::kBuffer) {
      throw Error(variable(api, "MEMORY") + " is " + memory_mode_name(o.memory) +
                  ", but blocking copies need buffer: leave it unset, or set " + variable(api, "COPIES") + "=ordered");
    }
    o.memory = MemoryMode::kBuffer;
  }
  o.profile = parse_switch(variable(api, "PROFILE"));
  const std::string staging_name = variable(api, "STAGING_MB"), staging = env(staging_name);
  if (!staging.empty()) {
    char* end = nullptr;
    const long mb = std::strtol(staging.c_str(), &end, 10);
    if (*end || mb < 0 || mb > 1 << 20) {
      throw Error(staging_name + " is '" + staging + "': it must be an integer from 0 to 1048576 (MiB)");
    }
    o.staging_limit_bytes = static_cast<size_t>(mb) << 20;
  }
  o.faults = env(variable(api, "FAULTS"));
  o.cache_dir = cache_folder(api);
  o.cache_wanted = !o.cache_dir.empty() && !env("TVM_COEXEC_CACHE_DIR").empty();
  return o;
}

}  // namespace coexec
