// Registration with TVM when this library is loaded, and its one exported function.
#include <dlfcn.h>

#include <string>

#include "cl/affinity.h"
#include "tvm/call.h"
#include "tvm/globals.h"
#include "tvm/opencl_choice.h"
#include "tvm/tvm_abi.h"
#include "tvm/vulkan_functions.h"

namespace coexec {
namespace {

std::string register_with_tvm() {
  if (!dlsym(RTLD_DEFAULT, "TVMFuncGetGlobal")) {  // calling it would end the process
    return "TVM's functions are not visible to the OpenCL runtime's library: load libtvm_runtime.so (or libtvm.so) with "
           "RTLD_GLOBAL first";
  }
  try {
    if (has_global("tvm_coexec.create")) {  // another copy of this library, loaded before
      return "";
    }
    remember_affinity();
    std::string error = register_opencl();
    if (error.empty() && !poses_as_tvm()) {
      register_vulkan();
      register_globals();
    }
    return error;
  } catch (const std::exception& e) {
    return e.what();
  }
}

}  // namespace
}  // namespace coexec

// Registers this library with the libtvm of this process, whose symbols must be globally visible. Returns null if TVM
// has an OpenCL runtime then, this one or its own; otherwise the reason, a string that stays valid. The OpenCL driver is
// opened at the first use of a device.
extern "C" __attribute__((visibility("default"))) const char* tvm_coexec_runtime_register() {
  static const std::string& message = *new std::string(coexec::register_with_tvm());
  return message.empty() ? nullptr : message.c_str();
}

// Loading the library registers it, also in programs that know nothing of this package (an RPC server with
// --load-library, a C++ application with dlopen). Statics of other files may not be initialised yet, so this path uses
// only those that are initialised at compile time or at first use.
__attribute__((constructor)) static void register_when_loaded() {
  tvm_coexec_runtime_register();
}
