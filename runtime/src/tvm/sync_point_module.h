// runtime::Module with the functions that `tvm_coexec.create` adds to a graph at sync points.
#pragma once
#include <set>
#include <string>

#include "tvm_abi.h"

namespace coexec {

//   coexec_join(parts..., result)   copies the parts that are not in place, which happens if the caller has replaced
//   the
//                                   result's memory
//   coexec_signal(array)            enqueues a flag that the device sets when it has written the array (exec/signal.h)
//   coexec_map(arrays...)           maps memory that the host will write
//   coexec_fetch(from, to)          enqueues an early download, for which the later copy waits
// All other functions are those of `library`, a module handle. Those in `device_functions` launch kernels, and pass
// them the sizes of their tensors. The caller owns the returned reference.
tvm_abi::Object* make_sync_point_module(void* library, std::set<std::string> device_functions);

}  // namespace coexec
