// A module whose functions say when they run.
#pragma once
#include <string>
#include <vector>

#include "tvm_abi.h"

namespace coexec {

// Wraps a module with compiled functions, imports included. `names` are the functions that an executor will ask for, in
// the order in which it does: the k-th is node k of the trace, however many nodes call the same function. Other
// requests are answered with the function itself. The caller owns the one reference.
tvm_abi::Object* make_traced_module(tvm_abi::Object* wrapped, std::vector<std::string> names);

}  // namespace coexec
