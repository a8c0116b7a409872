// tvm::runtime::DeviceAPI of OpenCL, as an object that libtvm can call.
#pragma once
#include "tvm_abi.h"

namespace coexec {

tvm_abi::DeviceAPI* opencl_device_api();

}  // namespace coexec
