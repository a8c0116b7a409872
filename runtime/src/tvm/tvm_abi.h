// The used part of TVM, declared here because TVM packages have no C++ headers: the C API, and class layouts of the
// Itanium C++ ABI, with the C++ library of this build (libstdc++, or libc++ on Android). abi_check.h compares them with
// the loaded libtvm before anything is registered; if headers are available, header_check.cc also compares them at
// compile time.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace coexec {
namespace tvm_abi {

// ---- DLPack and the C API ----
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
enum : int32_t { kDLCPU = 1, kDLCUDAHost = 3, kDLOpenCL = 4, kDLVulkan = 7, kDLROCMHost = 11 };

union TVMValue {
  int64_t v_int64;
  double v_float64;
  void* v_handle;
  const char* v_str;
  DLDataType v_type;
  DLDevice v_device;
};
enum TypeCode : int {
  kInt = 0,
  kUInt = 1,
  kFloat = 2,
  kOpaqueHandle = 3,
  kNull = 4,
  kDevice = 6,
  kDLTensorHandle = 7,
  kObjectHandle = 8,
  kModuleHandle = 9,
  kPackedFuncHandle = 10,
  kStr = 11,
  kBytes = 12,
  kNDArrayHandle = 13,
};

#ifndef TVM_COEXEC_NO_C_API
extern "C" {
using TVMPackedCFunc = int (*)(TVMValue* args, int* codes, int n, void* ret, void* self);
int TVMFuncCreateFromCFunc(TVMPackedCFunc f, void* self, void (*finalizer)(void*), void** out);
int TVMFuncRegisterGlobal(const char* name, void* f, int override_existing);
int TVMFuncGetGlobal(const char* name, void** out);
int TVMFuncCall(void* f, TVMValue* args, int* codes, int n, TVMValue* ret, int* ret_code);
int TVMFuncFree(void* f);
int TVMCFuncSetReturn(void* ret, TVMValue* value, int* code, int n);
int TVMObjectRetain(void* object);
int TVMObjectFree(void* object);
int TVMObjectTypeKey2Index(const char* key, unsigned* out);
void TVMAPISetLastError(const char* message);
const char* TVMGetLastError();
int TVMArrayFromDLPack(DLManagedTensor* from, void** out);
int TVMArrayToDLPack(void* array, DLManagedTensor** out);
int TVMArrayAlloc(const int64_t* shape, int ndim, int dtype_code, int dtype_bits, int dtype_lanes, int device_type,
                  int device_id, void** out);
int TVMArrayFree(void* array);
int TVMArrayCopyFromTo(void* from, void* to, void* stream);
int TVMArrayCopyFromBytes(void* array, void* data, size_t bytes);
int TVMArrayCopyToBytes(void* array, void* data, size_t bytes);
int TVMSynchronize(int device_type, int device_id, void* stream);
int TVMModImport(void* module, void* dependency);
int TVMModGetFunction(void* module, const char* name, int query_imports, void** out);
}
#else
using ::TVMObjectFree;
using ::TVMObjectRetain;
#endif

// ---- C++ layouts ----
// ObjectRef, String, Optional, PackedFunc and Module are a pointer with a destructor. The ABI passes them by invisible
// reference and returns them through a hidden pointer, as it does this class.
class Ref {
 public:
  Ref() = default;
  explicit Ref(void* owned) : p_(owned) {}  // takes ownership of the reference
  Ref(const Ref& o) : p_(o.p_) {
    if (p_) {
      TVMObjectRetain(p_);
    }
  }
  Ref(Ref&& o) noexcept : p_(o.p_) { o.p_ = nullptr; }
  Ref& operator=(Ref o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Ref() {
    if (p_) {
      TVMObjectFree(p_);
    }
  }
  void* get() const { return p_; }

 private:
  void* p_ = nullptr;
};

// Has no virtual functions: in a derived class that has some, the vptr is at 0 and this object at 8. The C API's
// handles of objects and modules point to this object.
struct Object {
  uint32_t type_index = 0;
  int32_t ref_count = 0;
  void (*deleter)(Object*) = nullptr;
};

struct StringObj {
  Object header;
  const char* data;
  uint64_t size;
};

inline std::string to_std(const Ref& string) {
  const auto* s = static_cast<const StringObj*>(string.get());
  return s ? std::string(s->data, s->size) : std::string();
}

// dmlc::Stream
struct Stream {
  virtual size_t Read(void* to, size_t n) = 0;
  virtual size_t Write(const void* from, size_t n) = 0;  // returns void in older dmlc: never use the result
  virtual ~Stream() = default;
};

// tvm::runtime::DeviceAPI. `rv` is a TVMRetValue*.
struct DeviceAPI {
  virtual ~DeviceAPI() = default;
  virtual void SetDevice(DLDevice) = 0;
  virtual void GetAttr(DLDevice, int kind, void* rv) = 0;
  virtual size_t GetDataSize(const DLTensor&, Ref scope) = 0;
  virtual void GetTargetProperty(DLDevice, const std::string& name, void* rv) = 0;
  virtual void* AllocDataSpace(DLDevice, size_t bytes, size_t alignment, DLDataType) = 0;
  virtual void* AllocDataSpaceScoped(DLDevice, int ndim, const int64_t* shape, DLDataType, Ref scope) = 0;
  virtual void FreeDataSpace(DLDevice, void*) = 0;
  virtual void CopyTensor(DLTensor* from, DLTensor* to, void* stream) = 0;
  virtual void* CreateStream(DLDevice) = 0;
  virtual void FreeStream(DLDevice, void*) = 0;
  virtual void StreamSync(DLDevice, void*) = 0;
  virtual void SetStream(DLDevice, void*) = 0;
  virtual void* GetCurrentStream(DLDevice) = 0;
  virtual void SyncStreamFromTo(DLDevice, void* from, void* to) = 0;
  virtual void* AllocWorkspace(DLDevice, size_t bytes, DLDataType) = 0;
  virtual void FreeWorkspace(DLDevice, void*) = 0;
  virtual void CopyRaw(const void* from, size_t from_offset, void* to, size_t to_offset, size_t bytes, DLDevice,
                       DLDevice, DLDataType, void* stream) = 0;
};

// tvm::runtime::ModuleNode
struct ModuleNode : Object {
  virtual ~ModuleNode() = default;
  virtual const char* type_key() const = 0;
  virtual Ref GetFunction(const Ref& name, const Ref& self) = 0;
  virtual void SaveToFile(const Ref& file, const Ref& format) = 0;
  virtual void SaveToBinary(Stream*) = 0;
  virtual Ref GetSource(const Ref& format) = 0;
  virtual Ref GetFormat() = 0;
  virtual int GetPropertyMask() const = 0;
  virtual bool ImplementsFunction(const Ref& name, bool query_imports) = 0;

  std::vector<Ref> imports_;
  std::unordered_map<std::string, std::shared_ptr<Ref>> import_cache_;
  std::mutex mutex_;
};
enum : int { kBinarySerializable = 1, kRunnable = 2 };

// tvm::runtime::TimerNode
struct TimerNode : Object {
  virtual void Start() = 0;
  virtual void Stop() = 0;
  virtual int64_t SyncAndGetElapsedNanos() = 0;
  virtual ~TimerNode() = default;
};

static_assert(sizeof(Object) == 16 && sizeof(Ref) == 8 && sizeof(DLTensor) == 48 && sizeof(TVMValue) == 8, "layout");
static_assert(sizeof(ModuleNode) == 8 + sizeof(Object) + sizeof(std::vector<Ref>) +
                                        sizeof(std::unordered_map<std::string, std::shared_ptr<Ref>>) +
                                        sizeof(std::mutex),
              "layout");

}  // namespace tvm_abi
}  // namespace coexec
