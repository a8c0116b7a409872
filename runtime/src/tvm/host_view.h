// Arrays over existing memory, for storage that both devices use.
#pragma once
#include "tvm_abi.h"

namespace coexec {

// The NDArray handle of a CPU tensor over the bytes of `device_array`, whose memory it keeps alive. A copy from one
// array to the other makes writes visible and moves no bytes. Error in memory mode "buffer", whose memory the host
// can't access.
void* make_host_view(tvm_abi::DLTensor* device_array);

// The NDArray handle of `nbytes` bytes (uint8) at `offset` in an array's memory, which it keeps alive. For a GPU's
// array the view is on the CPU or on the device, for a CPU array on the CPU.
void* make_storage_view(tvm_abi::DLTensor* array, int64_t offset, int64_t nbytes, bool on_cpu);

// The NDArray handle of `nbytes` bytes (uint8) of page-aligned host memory. It is freed after the device's copies in
// flight: early downloads may outlive an executor that ends with an error.
void* make_host_block(int64_t nbytes, tvm_abi::DLDevice gpu);

}  // namespace coexec
