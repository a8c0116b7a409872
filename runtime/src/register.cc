// Registration with TVM when this library is loaded, and its one exported function.
#include <dlfcn.h>

#include <string>

#include "cl/affinity.h"
#include "tvm/abi_check.h"
#include "tvm/globals.h"
#include "tvm/tvm_abi.h"

namespace coexec {
namespace {

std::string register_with_tvm() {
  if (!dlsym(RTLD_DEFAULT, "TVMFuncGetGlobal")) {  // calling it would end the process
    return "TVM's functions are not visible to the OpenCL runtime's library: load libtvm_runtime.so (or libtvm.so) with "
           "RTLD_GLOBAL first";
  }
  void* existing = nullptr;
  const auto has = [&](const char* name) {
    if (tvm_abi::TVMFuncGetGlobal(name, &existing) != 0 || !existing) {
      return false;
    }
    tvm_abi::TVMFuncFree(existing);
    return true;
  };
  try {
    if (has("device_api.opencl")) {
      if (!has("tvm_coexec.create")) {  // else another copy of this library is the registered one
        register_executor();
      }
      return "";
    }
    remember_affinity();
    const std::string mismatch = abi_mismatch();
    if (!mismatch.empty()) {
      return "the C++ ABI of this TVM is not the one that the OpenCL runtime was built for: " + mismatch +
             "; nothing was registered: use a TVM built with USE_OPENCL=ON";
    }
    register_globals();
    return "";
  } catch (const std::exception& e) {
    return e.what();
  }
}

}  // namespace
}  // namespace coexec

// Registers the OpenCL runtime with the libtvm of this process, whose symbols must be globally visible. Returns null if
// that succeeded or TVM has an OpenCL runtime, otherwise the reason, a string that stays valid. The OpenCL driver is
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
