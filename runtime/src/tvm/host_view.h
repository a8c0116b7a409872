// A CPU array over the memory of an OpenCL array, for storage that both devices use.
#pragma once
#include "tvm_abi.h"

namespace coexec {

// The NDArray handle of a CPU tensor over the same bytes; it keeps `device_array`'s memory alive. Error in memory mode
// "buffer", whose memory the host cannot access. Copying one array onto the other makes its writes visible and moves no
// bytes.
void* make_host_view(tvm_abi::DLTensor* device_array);

// The NDArray handle of `nbytes` bytes (uint8) of an array's memory, from `offset` on: of an OpenCL array's on the CPU
// or on the device, of a CPU array's on the CPU. It keeps the memory alive.
void* make_storage_view(tvm_abi::DLTensor* array, int64_t offset, int64_t nbytes, bool on_cpu);

// The NDArray handle of `nbytes` bytes (uint8) of page-aligned host memory, freed when the device has no copy in
// flight: early downloads may outlive an executor that ends with an error.
void* make_host_block(int64_t nbytes, int device_id);

}  // namespace coexec
