// A module whose calls are recorded in the trace.
#pragma once
#include <string>
#include <vector>

#include "tvm_abi.h"

namespace coexec {

// Wraps a module of compiled functions and its imports. `names` are the functions that an executor looks up, in its
// order: the k-th is node k of the trace, even if several nodes call the same function. Other look-ups return the
// function itself. The caller owns the returned reference.
tvm_abi::Object* make_traced_module(tvm_abi::Object* wrapped, std::vector<std::string> names);

}  // namespace coexec
