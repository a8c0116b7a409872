// Helpers for TVM's packed-function C API.
#pragma once
#include <string>

#include "tvm_abi.h"

namespace coexec {

inline int return_value(void* ret, tvm_abi::TVMValue value, int code) {
  return tvm_abi::TVMCFuncSetReturn(ret, &value, &code, 1);
}
int return_int(void* ret, int64_t value);
int return_string(void* ret, const std::string& value);
int return_object(void* ret, tvm_abi::Object* owned, int code);  // transfers the reference

size_t tensor_bytes(int ndim, const int64_t* shape, tvm_abi::DLDataType type);

inline size_t tensor_bytes(const tvm_abi::DLTensor& t) {
  return tensor_bytes(t.ndim, t.shape, t.dtype);
}

int forward_result(void* ret, const tvm_abi::TVMValue& value, int code);  // returns the result of another function

// Runs f and converts an exception to an error of the C API.
template <class F>
int guarded(F&& f) {
  try {
    return f();
  } catch (const std::exception& e) {
    tvm_abi::TVMAPISetLastError(e.what());
    return -1;
  }
}

tvm_abi::Ref make_string(const std::string& value);
unsigned type_index(const char* key);  // Error if TVM does not know the type
std::string last_tvm_error();
void register_global(const char* name, tvm_abi::TVMPackedCFunc f);

}  // namespace coexec
