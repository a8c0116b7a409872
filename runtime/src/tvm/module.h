// runtime::Module of type "opencl": kernels, and their serialised form.
#pragma once
#include <string>

#include "../exec/kernel.h"
#include "tvm_abi.h"

namespace coexec {

// Reads the serialised form of stock TVM's OpenCL (and source) modules. The caller owns the returned reference. Error
// if it is truncated or not OpenCL C.
tvm_abi::Object* load_module(tvm_abi::Stream* stream);

// Converts a module that TVM's code generator returned, by serialising it.
tvm_abi::Object* convert_module(tvm_abi::Object* source_module);

// A module with one kernel of hand-written OpenCL C.
tvm_abi::Object* make_source_module(const std::string& source, const FunctionInfo& kernel);

tvm_abi::Object* make_empty_module();

}  // namespace coexec
