// runtime::Module with the functions that `tvm_coexec.create` adds to a graph at sync points.
#pragma once
#include <set>
#include <string>

#include "tvm_abi.h"

namespace coexec {

//   coexec_join(parts..., result)   no-op for parts that are in place; copies the others, if the caller has replaced
//                                   the result's memory
//   coexec_signal(array)            makes the device set a flag when it has written the array (exec/signal.h)
//   coexec_map(arrays...)           maps memory that the host is going to write
//   coexec_fetch(from, to)          starts an early download, for which the later copy waits
// All other functions are those of `library`, a module handle; those with the given names pass the sizes of their
// tensors to their kernels. The caller owns the one reference.
tvm_abi::Object* make_meeting_module(void* library, std::set<std::string> device_functions);

}  // namespace coexec
