// The programs in a library that was built with adaptive=True (executor/variants.py).
#pragma once
#include <vector>

#include "call.h"

namespace coexec {

// An adaptive module of all programs in the library of an executor factory.
Result create_adaptive(void* factory, const std::vector<tvm_abi::DLDevice>& devices);

}  // namespace coexec
