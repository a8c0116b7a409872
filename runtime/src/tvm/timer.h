// profiling.timer.opencl: what time_evaluator, benchmark() and the profiler measure on opencl.
#pragma once
#include "tvm_abi.h"

namespace coexec {

// Wall time from the moment at which the device has nothing left to do until it is done again, so it includes launch
// overhead, copies and waiting. (Stock TVM sums kernel times instead, which hides exactly that.) The caller owns the
// one reference.
tvm_abi::Object* make_timer(int device_id);

}  // namespace coexec
