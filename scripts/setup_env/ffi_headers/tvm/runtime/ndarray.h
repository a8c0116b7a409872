#pragma once
#include "c_runtime_api.h"

namespace tvm {
namespace runtime {

// An array's handle points to its DLTensor, which follows the object's header.
inline void* TVMArrayHandleToObjectHandle(DLTensor* handle) {
  return reinterpret_cast<char*>(handle) - sizeof(coexec::tvm_abi::Object);
}

}  // namespace runtime
}  // namespace tvm
