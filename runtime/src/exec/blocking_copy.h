// Copies as TVM's own OpenCL runtime makes them (TVM_COEXEC_OPENCL_COPIES=blocking): a command of the queue that runs
// the kernels, after which the host waits for the whole queue, before an upload returns as well. With these, what a plan
// takes on TVM's own runtime can be measured on a TVM without one.
#pragma once
#include "region.h"

namespace coexec {

void upload_blocking(Region& r, size_t offset, const void* from, size_t bytes, Queue& queue);
void download_blocking(Region& r, size_t offset, void* to, size_t bytes, Queue& queue);

}  // namespace coexec
