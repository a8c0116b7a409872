#include "abi_check.h"

#include <dlfcn.h>

#include "module.h"
#include "tvm_abi.h"
#include "vtable_check.h"

namespace coexec {
namespace {

using namespace tvm_abi;

constexpr const char* kPure = kPureVirtual;

// Functions instead of static strings, which may not be initialised yet (see register.cc).

std::string api(const char* rest) {
  return std::string("_ZN3tvm7runtime9DeviceAPI") + rest;
}

std::string cpu(const char* rest) {
  return std::string("_ZN3tvm7runtime12CPUDeviceAPI") + rest;
}

std::string module_node(const char* rest) {
  return std::string("_ZN3tvm7runtime10ModuleNode") + rest;
}

std::string cpu_timer(const char* rest) {
  return std::string("_ZN3tvm7runtime12CPUTimerNode") + rest;
}

#define COEXEC_TEXT_OF(token) #token
#define COEXEC_TEXT(macro) COEXEC_TEXT_OF(macro)

// std::string in a signature of tvm::runtime::DeviceAPI that has a DLDevice before it. In libc++ it lies in an inline
// namespace (__1, in Android's NDK __ndk1), which is then the substitution S3_ after tvm, runtime, DeviceAPI, DLDevice.
// A libtvm of the other C++ library exports another name, and is refused.
std::string mangled_string() {
#ifdef _LIBCPP_ABI_NAMESPACE
  const std::string space = COEXEC_TEXT(_LIBCPP_ABI_NAMESPACE);
  return "NSt" + std::to_string(space.size()) + space + "12basic_stringIcNS3_11char_traitsIcEENS3_9allocatorIcEEEE";
#else
  return "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE";
#endif
}

// size_t is `unsigned long` on every 64-bit Linux and Android: "m".
TableExpectation device_api() {
  return {
      "tvm::runtime::DeviceAPI",
      "_ZTVN3tvm7runtime9DeviceAPIE",
      {{2, kPure},
       {3, kPure},
       {4, api("11GetDataSizeERK8DLTensorNS0_8OptionalINS0_6StringEEE")},
       {5, api("17GetTargetPropertyE8DLDeviceRK") + mangled_string() + "PNS0_11TVMRetValueE"},
       {6, kPure},
       {7, api("14AllocDataSpaceE8DLDeviceiPKl10DLDataTypeNS0_8OptionalINS0_6StringEEE")},
       {8, kPure},
       {9, api("14CopyDataFromToEP8DLTensorS3_Pv")},
       {10, api("12CreateStreamE8DLDevice")},
       {11, api("10FreeStreamE8DLDevicePv")},
       {12, kPure},
       {13, api("9SetStreamE8DLDevicePv")},
       {14, api("16GetCurrentStreamE8DLDevice")},
       {15, api("16SyncStreamFromToE8DLDevicePvS3_")},
       {16, api("14AllocWorkspaceE8DLDevicem10DLDataType")},
       {17, api("13FreeWorkspaceE8DLDevicePv")},
       {18, api("14CopyDataFromToEPKvmPvmm8DLDeviceS5_10DLDataTypeS4_")}}};
}

// The slots that are pure virtual in DeviceAPI, as the CPU's device fills them.
TableExpectation cpu_device_api() {
  return {"the CPU's DeviceAPI",
          "",
          {{2, cpu("9SetDeviceE8DLDevice")},
           {3, cpu("7GetAttrE8DLDeviceNS0_14DeviceAttrKindEPNS0_11TVMRetValueE")},
           {6, cpu("14AllocDataSpaceE8DLDevicemm10DLDataType")},
           {8, cpu("13FreeDataSpaceE8DLDevicePv")},
           {12, cpu("10StreamSyncE8DLDevicePv")}}};
}

TableExpectation stream() {
  return {"dmlc::MemoryStringStream",
          "_ZTVN4dmlc18MemoryStringStreamE",
          {{0, "_ZN4dmlc18MemoryStringStream4ReadEPvm"}, {1, "_ZN4dmlc18MemoryStringStream5WriteEPKvm"}}};
}

TableExpectation module() {
  return {"tvm::runtime::ModuleNode",
          "_ZTVN3tvm7runtime10ModuleNodeE",
          {{2, kPure},
           {3, kPure},
           {4, module_node("10SaveToFileERKNS0_6StringES4_")},
           {5, module_node("12SaveToBinaryEPN4dmlc6StreamE")},
           {6, module_node("9GetSourceERKNS0_6StringE")},
           {7, module_node("9GetFormatEv")},
           {8, "_ZNK3tvm7runtime10ModuleNode15GetPropertyMaskEv"},
           {9, module_node("18ImplementsFunctionERKNS0_6StringEb")}}};
}

TableExpectation timer() {
  return {"tvm::runtime::CPUTimerNode",
          "_ZTVN3tvm7runtime12CPUTimerNodeE",
          {{0, cpu_timer("5StartEv")}, {1, cpu_timer("4StopEv")}, {2, cpu_timer("22SyncAndGetElapsedNanosEv")}}};
}

// Lets libtvm import one of our modules into another, and checks the fields that it has written.
std::string check_module_layout() {
  Ref a(make_empty_module()), b(make_empty_module());
  auto* node = static_cast<ModuleNode*>(static_cast<Object*>(a.get()));
  const auto* imported = static_cast<const Object*>(b.get());
  if (TVMModImport(a.get(), b.get()) != 0 || node->imports_.size() != 1 || node->imports_[0].get() != b.get() ||
      imported->ref_count != 2) {
    return "the fields of tvm::runtime::ModuleNode have another layout";
  }
  return "";
}

}  // namespace

std::string abi_mismatch() {
  const Resolver resolve = [](const std::string& symbol) { return dlsym(RTLD_DEFAULT, symbol.c_str()); };
  for (const TableExpectation& table : {device_api(), stream(), module(), timer()}) {
    const std::string error = check_table(table, nullptr, resolve);
    if (!error.empty()) {
      return error;
    }
  }
  void* get_cpu = nullptr;
  TVMValue cpu_api{};
  int code = 0;
  if (TVMFuncGetGlobal("device_api.cpu", &get_cpu) != 0 || !get_cpu ||
      TVMFuncCall(get_cpu, nullptr, nullptr, 0, &cpu_api, &code) != 0) {
    return "TVM has no device_api.cpu";
  }
  const std::string error = check_table(cpu_device_api(), *static_cast<void* const* const*>(cpu_api.v_handle), resolve);
  return error.empty() ? check_module_layout() : error;
}

}  // namespace coexec
