// runtime::Module with the functions that `tvm_coexec.create` writes into a graph where the devices meet.
#pragma once
#include <set>
#include <string>

#include "tvm_abi.h"

namespace coexec {

//   coexec_join(parts..., result)   the parts were written where they belong in the result; those that were not, because
//                                   the caller exchanged the result's memory, are copied now
//   coexec_signal(array)            lets the device say when it has written the array (exec/signal.h)
//   coexec_map(arrays...)           gives the host memory that it is going to write, where it may only look when mapped
//   coexec_fetch(from, to)          begins a download; the copy that comes later waits for it
// All other functions are those of `library`, a module handle; the device's functions, whose names are given, tell their
// kernels how large the tensors are. The caller owns the one reference.
tvm_abi::Object* make_meeting_module(void* library, std::set<std::string> device_functions);

}  // namespace coexec
