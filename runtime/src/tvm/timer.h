// profiling.timer.opencl, with which time_evaluator, benchmark() and the profiler measure on opencl.
#pragma once
#include "tvm_abi.h"

namespace coexec {

// Wall time from an idle device until it is idle again, so it includes launch overhead, copies and waiting. (Stock TVM
// sums kernel times instead, which excludes them.) The caller owns the
// one reference.
tvm_abi::Object* make_timer(int device_id);

}  // namespace coexec
