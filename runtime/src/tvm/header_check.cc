// Compares our declarations with TVM's headers, if these are available (TVM_HOME). Slots of virtual tables can't be
// compared here; abi_check.cc compares them with the loaded library.
#ifdef TVM_COEXEC_HAVE_TVM_HEADERS
// As TVM's own build does; otherwise dmlc defines a second set of LOG macros.
// clang-format off
#define DMLC_USE_LOGGING_LIBRARY <tvm/runtime/logging.h>
// clang-format on
#include <dmlc/io.h>
#include <tvm/runtime/c_runtime_api.h>
#include <tvm/runtime/device_api.h>
#include <tvm/runtime/module.h>
#include <tvm/runtime/profiling.h>

#include <type_traits>

// tvm_abi.h declares the C API with its own types, which these headers have declared already.
#define TVM_COEXEC_NO_C_API
#include "tvm_abi.h"

namespace coexec {
namespace {

namespace ours = tvm_abi;
namespace theirs = tvm::runtime;

static_assert(sizeof(ours::DLTensor) == sizeof(::DLTensor), "DLTensor");
static_assert(offsetof(ours::DLTensor, data) == offsetof(::DLTensor, data), "DLTensor::data");
static_assert(offsetof(ours::DLTensor, device) == offsetof(::DLTensor, device), "DLTensor::device");
static_assert(offsetof(ours::DLTensor, ndim) == offsetof(::DLTensor, ndim), "DLTensor::ndim");
static_assert(offsetof(ours::DLTensor, dtype) == offsetof(::DLTensor, dtype), "DLTensor::dtype");
static_assert(offsetof(ours::DLTensor, shape) == offsetof(::DLTensor, shape), "DLTensor::shape");
static_assert(offsetof(ours::DLTensor, strides) == offsetof(::DLTensor, strides), "DLTensor::strides");
static_assert(offsetof(ours::DLTensor, byte_offset) == offsetof(::DLTensor, byte_offset), "DLTensor::byte_offset");
static_assert(sizeof(ours::DLManagedTensor) == sizeof(::DLManagedTensor), "DLManagedTensor");
static_assert(sizeof(ours::TVMValue) == sizeof(::TVMValue), "TVMValue");

static_assert(int{ours::kDLCPU} == int{::kDLCPU} && int{ours::kDLCUDAHost} == int{::kDLCUDAHost}, "device types");
static_assert(int{ours::kDLOpenCL} == int{::kDLOpenCL} && int{ours::kDLROCMHost} == int{::kDLROCMHost} &&
                  int{ours::kDLVulkan} == int{::kDLVulkan},
              "device types");
static_assert(ours::kInt == int{kDLInt} && ours::kUInt == int{kDLUInt} && ours::kFloat == int{kDLFloat}, "type codes");
static_assert(ours::kOpaqueHandle == int{kTVMOpaqueHandle} && ours::kNull == int{kTVMNullptr}, "type codes");
static_assert(ours::kDLTensorHandle == int{kTVMDLTensorHandle} && ours::kObjectHandle == int{kTVMObjectHandle},
              "codes");
static_assert(ours::kModuleHandle == int{kTVMModuleHandle} && ours::kStr == int{kTVMStr}, "type codes");
static_assert(ours::kPackedFuncHandle == int{kTVMPackedFuncHandle}, "type codes");
static_assert(ours::kNDArrayHandle == int{kTVMNDArrayHandle}, "type codes");

static_assert(sizeof(ours::Object) == sizeof(theirs::Object), "tvm::runtime::Object");
static_assert(sizeof(ours::Ref) == sizeof(theirs::ObjectRef), "tvm::runtime::ObjectRef");
static_assert(sizeof(ours::Ref) == sizeof(theirs::PackedFunc), "tvm::runtime::PackedFunc");
static_assert(sizeof(ours::StringObj) == sizeof(theirs::StringObj), "tvm::runtime::StringObj");
static_assert(!std::is_polymorphic<theirs::Object>::value, "tvm::runtime::Object has a vptr");
static_assert(sizeof(ours::ModuleNode) == sizeof(theirs::ModuleNode), "tvm::runtime::ModuleNode");
static_assert(sizeof(ours::TimerNode) == sizeof(theirs::TimerNode), "tvm::runtime::TimerNode");
static_assert(sizeof(ours::DeviceAPI) == sizeof(theirs::DeviceAPI), "tvm::runtime::DeviceAPI");
static_assert(sizeof(ours::Stream) == sizeof(dmlc::Stream), "dmlc::Stream");
static_assert(int{ours::kBinarySerializable} == int{theirs::ModulePropertyMask::kBinarySerializable}, "property mask");
static_assert(int{ours::kRunnable} == int{theirs::ModulePropertyMask::kRunnable}, "property mask");

}  // namespace
}  // namespace coexec
#endif  // TVM_COEXEC_HAVE_TVM_HEADERS
