// The global functions by which TVM reaches an OpenCL runtime, as this runtime implements them.
#pragma once
#include <vector>

#include "tvm_abi.h"

namespace coexec {

struct OpenCLFunction {
  const char* name;
  tvm_abi::TVMPackedCFunc call;
  bool makes_objects;  // modules, which belong to the runtime that made them
};

// In the order in which they are to be registered: once `device_api.opencl` is visible, the others must exist.
const std::vector<OpenCLFunction>& opencl_functions();

}  // namespace coexec
