// The one exported function of this library.
#include <string>

#include "cl/affinity.h"
#include "tvm/abi_check.h"
#include "tvm/globals.h"
#include "tvm/tvm_abi.h"

// Registers the OpenCL runtime with the libtvm of this process, whose symbols must be globally visible. Returns null
// when that was done (or is not needed, because TVM has an OpenCL runtime already), else the reason, a string that
// stays valid. Opens no OpenCL driver: that happens at the first use of a device.
extern "C" __attribute__((visibility("default"))) const char* tvm_coexec_runtime_register() {
  static std::string& message = *new std::string();
  void* existing = nullptr;
  if (coexec::tvm_abi::TVMFuncGetGlobal("device_api.opencl", &existing) == 0 && existing) {
    coexec::tvm_abi::TVMFuncFree(existing);
    return nullptr;
  }
  coexec::remember_affinity();
  try {
    message = coexec::abi_mismatch();
    if (!message.empty()) {
      message = "this TVM's C++ ABI is not the one that the OpenCL runtime was made for: " + message +
                "; nothing was registered (rebuild with TVM_HOME set, or use a TVM built with USE_OPENCL=ON)";
      return message.c_str();
    }
    coexec::register_globals();
  } catch (const std::exception& e) {
    message = e.what();
    return message.c_str();
  }
  return nullptr;
}
