// tvm::runtime::DeviceAPI of OpenCL and of Vulkan, as objects that libtvm can call.
#pragma once
#include "../cl/cl_api.h"
#include "tvm_abi.h"

namespace coexec {

tvm_abi::DeviceAPI* device_api_of(Api api);

}  // namespace coexec
