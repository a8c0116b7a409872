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

// Copies `bytes`; a copy within one device uses the queue of `stream`. Guarantees:
// - the source may be changed, and a host destination read, as soon as the function returns
// - an upload does not wait for kernels that do not use the destination: if any is running, the bytes are staged
// - a download waits for the command that wrote the source, not for the whole queue
// - if both sides have the same address (memory that CPU and device share), no bytes move: a copy to the host only
//   waits for the writer
// - a download to memory for which an early download was started (see below) waits for that one
void copy(const Place& from, const Place& to, size_t bytes, void* stream);

// Starts an early download, which the device executes when the commands that write the source have ended. The
// destination must not be used until a copy of the same source to the same destination has returned.
void start_download(Region& source, size_t offset, void* to, size_t bytes);

// Maps memory for the host to write, until a kernel uses it again.
void give_to_host(Region& region, size_t offset, size_t bytes);

}  // namespace coexec
