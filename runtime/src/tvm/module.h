// runtime::Module of type "opencl": TVM's blob <-> kernels.
#pragma once
#include <string>

#include "../exec/kernel.h"
#include "tvm_abi.h"

namespace coexec {

// Reads the blob of stock TVM's OpenCL (and source) modules; the caller owns the one reference. Error if it is
// truncated or is not OpenCL C.
tvm_abi::Object* load_module(tvm_abi::Stream* stream);

// The same from a module that a code generator returned, through its blob.
tvm_abi::Object* convert_module(tvm_abi::Object* source_module);

// A module with one kernel of hand-written OpenCL C.
tvm_abi::Object* make_source_module(const std::string& source, const FunctionInfo& kernel);

tvm_abi::Object* make_empty_module();

}  // namespace coexec
