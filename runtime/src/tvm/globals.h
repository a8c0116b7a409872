// The functions that are registered with TVM.
#pragma once

namespace coexec {

// device_api.opencl, runtime.module.loadbinary_opencl, target.build.opencl (wrapped), profiling.timer.opencl,
// tvm_coexec.opencl.*
void register_globals();

}  // namespace coexec
