#include "packed.h"

#include "../cl/cl_error.h"
#include "call.h"

namespace coexec {

using namespace tvm_abi;

int return_int(void* ret, int64_t value) {
  TVMValue v;
  v.v_int64 = value;
  return return_value(ret, v, kInt);
}

int return_string(void* ret, const std::string& value) {
  TVMValue v;
  v.v_str = value.c_str();  // copied by TVM
  return return_value(ret, v, kStr);
}

int return_object(void* ret, Object* owned, int code) {
  TVMValue v;
  v.v_handle = owned;
  const int rc = return_value(ret, v, code);
  TVMObjectFree(owned);
  return rc;
}

size_t tensor_bytes(int ndim, const int64_t* shape, DLDataType type) {
  size_t n = (type.bits * type.lanes + 7u) / 8u;
  for (int i = 0; i < ndim; ++i) {
    n *= static_cast<size_t>(shape[i]);
  }
  return n;
}

int forward_result(void* ret, const TVMValue& value, int code) {
  return Result(value, code).forward(ret);
}

Ref make_string(const std::string& value) {
  void* make = nullptr;
  TVMValue arg, out;
  arg.v_str = value.c_str();
  int code = kStr, out_code = 0;
  if (TVMFuncGetGlobal("runtime.String", &make) != 0 || !make ||
      TVMFuncCall(make, &arg, &code, 1, &out, &out_code) != 0) {
    throw Error("TVM can't create a string: " + last_tvm_error());
  }
  return Ref(out.v_handle);
}

unsigned type_index(const char* key) {
  unsigned index = 0;
  if (TVMObjectTypeKey2Index(key, &index) != 0) {
    throw Error("TVM has no object type " + std::string(key) + ": " + last_tvm_error());
  }
  return index;
}

std::string last_tvm_error() {
  const char* text = TVMGetLastError();
  return text ? text : "";
}

void register_global(const char* name, TVMPackedCFunc f) {
  void* handle = nullptr;
  if (TVMFuncCreateFromCFunc(f, nullptr, nullptr, &handle) != 0 || TVMFuncRegisterGlobal(name, handle, 1) != 0) {
    throw Error("TVM can't register " + std::string(name) + ": " + last_tvm_error());
  }
  TVMFuncFree(handle);
}

}  // namespace coexec
