// profiling.timer.opencl, which time_evaluator, benchmark() and the profiler use on opencl.
#pragma once
#include "../cl/cl_api.h"
#include "tvm_abi.h"

namespace coexec {

// Measures wall time from an idle device until it is idle again, which includes launch overhead, copies and waits.
// (Stock TVM sums the times of kernels.) The caller owns the returned reference.
tvm_abi::Object* make_timer(Api api, int device_id);

}  // namespace coexec
