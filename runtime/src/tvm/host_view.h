// A CPU array over the memory of an OpenCL array, for storage that both use.
#pragma once
#include "tvm_abi.h"

namespace coexec {

// The NDArray handle of a CPU tensor over the same bytes; it keeps `device_array`'s memory alive. Error in memory mode
// "buffer", whose memory the host can't see. What each side writes becomes the other's by copying one array onto the
// other, which moves nothing.
void* make_host_view(tvm_abi::DLTensor* device_array);

}  // namespace coexec
