// The functions that are registered with TVM.
#pragma once

namespace coexec {

// tvm_coexec.create, tvm_coexec.create_with, tvm_coexec.executor_graph: they work with any OpenCL runtime
void register_executor();

// The above, device_api.opencl, runtime.module.loadbinary_opencl, target.build.opencl (wrapped), profiling.timer.opencl,
// tvm_coexec.opencl.*
void register_globals();

}  // namespace coexec
