// runtime::Module of type "opencl": TVM's blob <-> kernels.
#pragma once
#include <string>

#include "../exec/kernel.h"
#include "tvm_abi.h"

namespace coexec {

// Reads the blob of stock TVM's OpenCL (and source) modules; the caller owns the one reference. Error when it is cut
// off or isn't OpenCL C.
tvm_abi::Object* load_module(tvm_abi::Stream* stream);

// The same from a module that a code generator made, by way of its blob.
tvm_abi::Object* convert_module(tvm_abi::Object* source_module);

// A module with one kernel, from OpenCL C that somebody wrote by hand.
tvm_abi::Object* make_source_module(const std::string& source, const FunctionInfo& kernel);

tvm_abi::Object* make_empty_module();

}  // namespace coexec
