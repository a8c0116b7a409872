// Copies between host memory and device memory, and within device memory.
#pragma once
#include <cstddef>

#include "../cl/device.h"

namespace coexec {

// One end of a copy: plain host memory, or an address in the device memory of opencl(id).
struct Place {
  void* address;  // tensor data pointer + byte offset
  int opencl_id;  // -1: host
};

// Copies `bytes`; the queue is that of `stream` for copies within one device. What it promises:
// - the source may be changed, and a host destination read, as soon as it returns
// - a host source goes up without waiting for kernels that don't use the destination; when something is running the
// bytes are staged
// - a host destination waits for the command that wrote the source, not for the whole queue
// - the same address on both sides (storage that CPU and device share) moves nothing: to the host it waits for the
// writer, no more
void copy(const Place& from, const Place& to, size_t bytes, void* stream);

}  // namespace coexec
