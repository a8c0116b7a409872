#pragma once
#include "c_runtime_api.h"

namespace tvm {
namespace runtime {

// An array's handle points to its DLTensor, which follows the object's header: type index, reference count, deleter.
inline void* TVMArrayHandleToObjectHandle(DLTensor* handle) { return reinterpret_cast<char*>(handle) - 16; }

}  // namespace runtime
}  // namespace tvm
