// Copies between host memory and device memory, and within device memory.
#pragma once
#include <cstddef>

#include "region.h"

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
// - a download into memory for which one was begun (see below) waits for that one
void copy(const Place& from, const Place& to, size_t bytes, void* stream);

// Begins a download that needs nobody's attention: it starts when what writes the source now has ended. The destination
// belongs to it until a copy from the same place to the same place has returned.
void start_download(Region& source, size_t offset, void* to, size_t bytes);

// Makes memory that the host may only look at while it is mapped the host's, until a kernel uses it again.
void give_to_host(Region& region, size_t offset, size_t bytes);

}  // namespace coexec
