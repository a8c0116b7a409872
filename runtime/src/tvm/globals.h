// The functions of this package that are registered with TVM: tvm_coexec.create, tvm_coexec.create_with,
// tvm_coexec.executor_graph, and tvm_coexec.opencl.*.
#pragma once

namespace coexec {

void register_globals();

}  // namespace coexec
