// What TVM's Cython sources use of its C API, declared here because the prebuilt package has no headers. The layouts are
// those that the runtime declares.
#pragma once

extern "C" {
int TVMObjectRetain(void* object);
int TVMObjectFree(void* object);
}
// These sources name a handle's type where the runtime has void*, so the functions are declared again below.
#define TVM_COEXEC_NO_C_API
#include "tvm_abi.h"

using coexec::tvm_abi::DLDataType;
using coexec::tvm_abi::DLDevice;
using coexec::tvm_abi::DLManagedTensor;
using coexec::tvm_abi::DLTensor;
using coexec::tvm_abi::TVMValue;

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
int TVMObjectGetTypeIndex(void* object, unsigned* out);
}
