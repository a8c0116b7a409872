// Copies between host memory and device memory, and within device memory.
#pragma once
#include <cstddef>

#include "region.h"

namespace coexec {

// Source or destination of a copy: host memory, or an address in the memory of a device.
struct Endpoint {
  void* address;  // tensor data pointer + byte offset
  int slot;       // of the device; -1: host
};

// Copies `bytes`; a copy within one device uses the queue of `stream`. Guarantees:
// - the source may be changed, and a host destination read, as soon as the function returns
// - an upload does not wait for kernels that do not use the destination: if any is running, the bytes are staged
// - a download waits for the command that wrote the source, not for the whole queue
// - if both addresses are equal (memory that CPU and device share), the copy is elided: one to the host only waits for
//   the writers
// - a download for which an early download was started (see below) waits for that one
void copy(const Endpoint& from, const Endpoint& to, size_t bytes, void* stream);

// Enqueues a download that the device executes as soon as the commands that write the source have ended. The
// destination must not be used before a copy of the same source to the same destination has returned.
void start_download(Region& source, size_t offset, void* to, size_t bytes);

// Maps memory so that the host may write it, until a kernel uses it again.
void map_for_host_write(Region& region, size_t offset, size_t bytes);

}  // namespace coexec
