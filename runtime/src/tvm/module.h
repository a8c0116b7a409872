// runtime::Module of type "opencl": TVM's blob <-> kernels.
#pragma once
#include "tvm_abi.h"

namespace coexec {

// Reads the blob of stock TVM's OpenCL (and source) modules; the caller owns the one reference. Error when it is cut
// off or isn't OpenCL C.
tvm_abi::Object* load_module(tvm_abi::Stream* stream);

// The same from a module that a code generator made, by way of its blob.
tvm_abi::Object* convert_module(tvm_abi::Object* source_module);

tvm_abi::Object* make_empty_module();

}  // namespace coexec
