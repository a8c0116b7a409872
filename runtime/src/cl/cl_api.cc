#include "cl_api.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "../wgpu/driver.h"
#include "cl_error.h"
#include "faults.h"

namespace coexec {
namespace {

// First the sonames of Linux loaders, then the paths of Android vendors, which are not on the linker's path.
const char* const kCandidates[] = {
    "libOpenCL.so.1",
    "libOpenCL.so",
    "/usr/lib/x86_64-linux-gnu/libOpenCL.so.1",
    "/usr/lib/aarch64-linux-gnu/libOpenCL.so.1",
    "/usr/lib64/libOpenCL.so.1",
    "/usr/local/lib/libOpenCL.so",
    "/vendor/lib64/libOpenCL.so",
    "/system/vendor/lib64/libOpenCL.so",
    "/system/lib64/libOpenCL.so",
    "/vendor/lib64/egl/libGLES_mali.so",
    "/system/vendor/lib64/egl/libGLES_mali.so",
    "/vendor/lib64/libPVROCL.so",
};

struct Loaded {
  ClApi api, faulty;
  std::string error;
};

bool fill(void* lib, ClApi* api, std::string* missing) {
#define COEXEC_CL_LOAD(ret, name, args) api->name = reinterpret_cast<ret(*) args>(dlsym(lib, "cl" #name));
#define COEXEC_CL_NEED(ret, name, args) \
  if (!api->name && missing->empty()) { \
    *missing = "cl" #name;              \
  }
  COEXEC_CL_REQUIRED(COEXEC_CL_LOAD)
  COEXEC_CL_OPTIONAL(COEXEC_CL_LOAD)
  COEXEC_CL_REQUIRED(COEXEC_CL_NEED)
#undef COEXEC_CL_LOAD
#undef COEXEC_CL_NEED
  return missing->empty();
}

Loaded open_library() {
  Loaded out;
  const char* forced = std::getenv("TVM_COEXEC_LIBOPENCL");
  std::vector<std::string> names;
  if (forced && *forced) {
    names.emplace_back(forced);
  } else {
    names.assign(std::begin(kCandidates), std::end(kCandidates));
  }
  std::string missing;
  for (const std::string& name : names) {
    void* lib = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
      continue;
    }
    missing.clear();
    if (fill(lib, &out.api, &missing)) {
      return out;
    }
    out.error =
        "the OpenCL library " + name + " has no function " + missing + ": install a driver for OpenCL 1.2 or newer";
    out.api = ClApi();
    dlclose(lib);
  }
  if (!out.error.empty()) {
    return out;
  }
  if (forced && *forced) {
    dlerror();
    dlopen(forced, RTLD_NOW | RTLD_LOCAL);
    const char* why = dlerror();
    out.error =
        std::string("the OpenCL library named by TVM_COEXEC_LIBOPENCL can't be opened: ") + (why ? why : forced);
  } else {
    out.error =
        "no OpenCL library found (libOpenCL.so.1): install your GPU's OpenCL driver and the ICD loader (Debian: "
        "ocl-icd-libopencl1, and pocl-opencl-icd for a CPU device), or set TVM_COEXEC_LIBOPENCL to its path";
  }
  return out;
}

}  // namespace

bool ClApi::has_svm() const {
  return SVMAlloc && SVMFree && SetKernelArgSVMPointer && EnqueueSVMMemcpy && EnqueueSVMMap && EnqueueSVMUnmap;
}

const char* api_name(Api api) {
  return api == Api::kOpenCL ? "opencl" : "vulkan";
}

const char* api_title(Api api) {
  return api == Api::kOpenCL ? "OpenCL" : "Vulkan";
}

namespace {

Loaded& load_driver(Api api) {
  Loaded& opened = *new Loaded();
  if (api == Api::kOpenCL) {
    opened = open_library();
  } else {
    opened.error = make_wgpu_driver(&opened.api);
  }
  opened.faulty = faults::wrap(api, opened.api);
  return opened;
}

}  // namespace

const ClApi& driver(Api api) {
  const auto table = [&](const Loaded& loaded) -> const ClApi& {
    if (!loaded.error.empty()) {
      throw Error(std::string(api_title(api)) + " is not available: " + loaded.error);
    }
    return faults::active() ? loaded.faulty : loaded.api;
  };
  if (api == Api::kVulkan) {
    static const Loaded& vulkan = load_driver(Api::kVulkan);
    return table(vulkan);
  }
  static const Loaded& opencl = load_driver(Api::kOpenCL);
  return table(opencl);
}

}  // namespace coexec
