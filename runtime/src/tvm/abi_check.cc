#include "abi_check.h"

#include <dlfcn.h>

#include "module.h"
#include "tvm_abi.h"
#include "vtable_check.h"

namespace coexec {
namespace {

using namespace tvm_abi;

const std::string kPure = "__cxa_pure_virtual";
const std::string kApi = "_ZN3tvm7runtime9DeviceAPI";
const std::string kCpu = "_ZN3tvm7runtime12CPUDeviceAPI";
const std::string kModule = "_ZN3tvm7runtime10ModuleNode";
const std::string kTimer = "_ZN3tvm7runtime12CPUTimerNode";

// size_t is `unsigned long` on every 64-bit Linux: "m".
TableExpectation device_api() {
  return {
      "tvm::runtime::DeviceAPI",
      "_ZTVN3tvm7runtime9DeviceAPIE",
      {{2, kPure},
       {3, kPure},
       {4, kApi + "11GetDataSizeERK8DLTensorNS0_8OptionalINS0_6StringEEE"},
       {5,
        kApi +
            "17GetTargetPropertyE8DLDeviceRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEPNS0_11TVMRetValueE"},
       {6, kPure},
       {7, kApi + "14AllocDataSpaceE8DLDeviceiPKl10DLDataTypeNS0_8OptionalINS0_6StringEEE"},
       {8, kPure},
       {9, kApi + "14CopyDataFromToEP8DLTensorS3_Pv"},
       {10, kApi + "12CreateStreamE8DLDevice"},
       {11, kApi + "10FreeStreamE8DLDevicePv"},
       {12, kPure},
       {13, kApi + "9SetStreamE8DLDevicePv"},
       {14, kApi + "16GetCurrentStreamE8DLDevice"},
       {15, kApi + "16SyncStreamFromToE8DLDevicePvS3_"},
       {16, kApi + "14AllocWorkspaceE8DLDevicem10DLDataType"},
       {17, kApi + "13FreeWorkspaceE8DLDevicePv"},
       {18, kApi + "14CopyDataFromToEPKvmPvmm8DLDeviceS5_10DLDataTypeS4_"}}};
}

// The slots that are pure above, as the CPU's device fills them.
TableExpectation cpu_device_api() {
  return {"the CPU's DeviceAPI",
          "",
          {{2, kCpu + "9SetDeviceE8DLDevice"},
           {3, kCpu + "7GetAttrE8DLDeviceNS0_14DeviceAttrKindEPNS0_11TVMRetValueE"},
           {6, kCpu + "14AllocDataSpaceE8DLDevicemm10DLDataType"},
           {8, kCpu + "13FreeDataSpaceE8DLDevicePv"},
           {12, kCpu + "10StreamSyncE8DLDevicePv"}}};
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
           {4, kModule + "10SaveToFileERKNS0_6StringES4_"},
           {5, kModule + "12SaveToBinaryEPN4dmlc6StreamE"},
           {6, kModule + "9GetSourceERKNS0_6StringE"},
           {7, kModule + "9GetFormatEv"},
           {8, "_ZNK3tvm7runtime10ModuleNode15GetPropertyMaskEv"},
           {9, kModule + "18ImplementsFunctionERKNS0_6StringEb"}}};
}

TableExpectation timer() {
  return {"tvm::runtime::CPUTimerNode",
          "_ZTVN3tvm7runtime12CPUTimerNodeE",
          {{0, kTimer + "5StartEv"}, {1, kTimer + "4StopEv"}, {2, kTimer + "22SyncAndGetElapsedNanosEv"}}};
}

// Lets libtvm import one of our modules into another and looks at our own fields afterwards.
std::string check_module_layout() {
  Ref a(make_empty_module()), b(make_empty_module());
  auto* node = static_cast<ModuleNode*>(static_cast<Object*>(a.get()));
  const auto* imported = static_cast<const Object*>(b.get());
  if (TVMModImport(a.get(), b.get()) != 0 || node->imports_.size() != 1 || node->imports_[0].get() != b.get() ||
      imported->ref_count != 2) {
    return "the fields of tvm::runtime::ModuleNode are laid out differently";
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
  TVMValue cpu{};
  int code = 0;
  if (TVMFuncGetGlobal("device_api.cpu", &get_cpu) != 0 || !get_cpu ||
      TVMFuncCall(get_cpu, nullptr, nullptr, 0, &cpu, &code) != 0) {
    return "TVM has no device_api.cpu";
  }
  const std::string error = check_table(cpu_device_api(), *static_cast<void* const* const*>(cpu.v_handle), resolve);
  return error.empty() ? check_module_layout() : error;
}

}  // namespace coexec
