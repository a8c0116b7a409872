#include "wgpu_api.h"

#include <dlfcn.h>

#include <cstdlib>
#include <mutex>
#include <vector>

#include "driver.h"

namespace coexec {
namespace wg {
namespace {

struct WgpuLibrary {
  std::once_flag once;
  WgpuApi api;
  std::string error;
  std::string hint;  // the path that the caller of set_wgpu_library knows
};

WgpuLibrary& wgpu_library() {
  static WgpuLibrary& l = *new WgpuLibrary();
  return l;
}

std::string version_text(uint32_t version) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) {
    text += (text.empty() ? "" : ".") + std::to_string((version >> shift) & 255);
  }
  return text;
}

// Fills the table; returns what is wrong with the library, or "".
std::string fill_wgpu(void* lib, const std::string& name, WgpuApi* api) {
  std::string missing;
#define COEXEC_WGPU_LOAD(ret, function, args)                                  \
  api->function = reinterpret_cast<ret(*) args>(dlsym(lib, "wgpu" #function)); \
  if (!api->function && missing.empty()) {                                     \
    missing = "wgpu" #function;                                                \
  }
  COEXEC_WGPU(COEXEC_WGPU_LOAD)
#undef COEXEC_WGPU_LOAD
  const std::string remedy = ": install wgpu-native " + std::to_string(kMajorVersion) + " (pip install wgpu==0.32.*)";
  if (api->GetVersion && api->GetVersion() >> 24 != kMajorVersion) {
    return name + " is wgpu-native " + version_text(api->GetVersion()) + remedy;
  }
  return missing.empty() ? "" : name + " has no function " + missing + remedy;
}

void open_wgpu(WgpuLibrary& l) {
  const char* forced = std::getenv("TVM_COEXEC_LIBWGPU");
  std::vector<std::string> names;
  if (forced && *forced) {
    names.emplace_back(forced);
  } else {
    if (!l.hint.empty()) {
      names.push_back(l.hint);
    }
    names.insert(names.end(), {"libwgpu_native.so", "/usr/local/lib/libwgpu_native.so"});
  }
  for (const std::string& name : names) {
    void* lib = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
      continue;
    }
    l.error = fill_wgpu(lib, name, &l.api);
    if (l.error.empty()) {
      l.api.SetLogLevel(0);
      return;
    }
    l.api = WgpuApi();
  }
  if (!l.error.empty()) {
    return;
  }
  if (forced && *forced) {
    const char* why = dlerror();
    l.error = std::string("the library named by TVM_COEXEC_LIBWGPU can't be opened: ") + (why ? why : forced);
  } else {
    l.error =
        "wgpu-native's library was not found: install it (pip install wgpu==0.32.*), or set TVM_COEXEC_LIBWGPU to "
        "its path";
  }
}

}  // namespace

const std::string& why_no_wgpu() {
  WgpuLibrary& l = wgpu_library();
  std::call_once(l.once, [&] { open_wgpu(l); });
  return l.error;
}

const WgpuApi& wgpu() {
  return wgpu_library().api;
}

}  // namespace wg

void set_wgpu_library(const std::string& path) {
  wg::wgpu_library().hint = path;
}

}  // namespace coexec
