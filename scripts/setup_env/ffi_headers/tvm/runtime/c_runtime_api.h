// What TVM's Cython sources use of its C API, declared here because the prebuilt package has no headers.
#pragma once
#include <cstdint>

struct DLDevice {
  int32_t device_type, device_id;
};
struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor*);
};
union TVMValue {
  int64_t v_int64;
  double v_float64;
  void* v_handle;
  const char* v_str;
  DLDataType v_type;
  DLDevice v_device;
};

extern "C" {
void TVMAPISetLastError(const char* message);
void TVMAPISetLastPythonError(void* error);
const char* TVMGetLastError();
int TVMFuncGetGlobal(const char* name, void** out);
int TVMFuncCall(void* f, TVMValue* args, int* codes, int n, TVMValue* ret, int* ret_code);
int TVMFuncFree(void* f);
int TVMCFuncSetReturn(void* ret, TVMValue* value, int* code, int n);
int TVMFuncCreateFromCFunc(int (*f)(TVMValue* args, int* codes, int n, void* ret, void* self), void* self,
                           void (*finalizer)(void*), void** out);
int TVMCbArgToReturn(TVMValue* value, int* code);
int TVMArrayFree(DLTensor* array);
int TVMArrayCopyFromTo(DLTensor* from, DLTensor* to, void* stream);
int TVMArrayFromDLPack(DLManagedTensor* from, DLTensor** out);
int TVMArrayToDLPack(DLTensor* array, DLManagedTensor** out);
void TVMDLManagedTensorCallDeleter(DLManagedTensor* tensor);
int TVMObjectFree(void* object);
int TVMObjectGetTypeIndex(void* object, unsigned* out);
}
