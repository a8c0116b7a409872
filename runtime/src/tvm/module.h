// runtime::Module of type "opencl" or, for Vulkan, "wgsl": kernels, and their serialised form.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "../exec/kernel.h"
#include "tvm_abi.h"

namespace coexec {

// Reads the serialised form of stock TVM's OpenCL (and source) modules, which those of WGSL have, too. The caller owns
// the returned reference. Error if it is truncated or not of the API's language.
tvm_abi::Object* load_module(Api api, tvm_abi::Stream* stream);

// Converts a module that TVM's code generator returned, by serialising it.
tvm_abi::Object* convert_module(tvm_abi::Object* source_module);

// A module of kernels with their sources: OpenCL C or WGSL.
tvm_abi::Object* make_source_module(Api api, const std::vector<std::pair<FunctionInfo, std::string>>& kernels);

tvm_abi::Object* make_empty_module();

}  // namespace coexec
