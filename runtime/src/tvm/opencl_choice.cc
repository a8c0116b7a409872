#include "opencl_choice.h"

#include <atomic>
#include <cstdlib>

#include "../cl/cl_error.h"
#include "../cl/options.h"
#include "abi_check.h"
#include "call.h"
#include "device_api.h"
#include "opencl_functions.h"
#include "packed.h"

namespace coexec {
namespace {

using namespace tvm_abi;

const char kVariable[] = "TVM_COEXEC_OPENCL";

// One function of `opencl_functions` in both runtimes.
struct Switched {
  const OpenCLFunction* own;
  void* stock;
};

struct Choice {
  std::atomic<bool> own{false};
  std::atomic<bool> used{false};  // an array or module exists, or has existed
  bool tvm_has_opencl = false;
  bool in_front = false;  // TVM calls the functions and the device API below
  std::string mismatch;   // of the ABI
  std::string why_stock;
  DeviceAPI* stock_api = nullptr;
  std::vector<Switched> functions;
  std::atomic<bool> probing{false}, reached{false};  // see `is_reached`
};

Choice& choice() {
  static Choice& c = *new Choice();  // used until the process ends
  return c;
}

DeviceAPI& chosen_api() {
  return choice().own ? *device_api_of(Api::kOpenCL) : *choice().stock_api;
}

DeviceAPI& allocating_api() {
  choice().used = true;
  return chosen_api();
}

// Passes each call on to the chosen runtime. TVM keeps the device API that it got first for good.
class SwitchedDeviceAPI final : public DeviceAPI {
 public:
  void SetDevice(DLDevice d) override { chosen_api().SetDevice(d); }
  void GetAttr(DLDevice d, int kind, void* rv) override {
    if (choice().probing) {
      choice().reached = true;
      return_int(rv, 0);
      return;
    }
    chosen_api().GetAttr(d, kind, rv);
  }
  size_t GetDataSize(const DLTensor& t, Ref scope) override { return chosen_api().GetDataSize(t, scope); }
  void GetTargetProperty(DLDevice d, const std::string& name, void* rv) override {
    chosen_api().GetTargetProperty(d, name, rv);
  }
  void* AllocDataSpace(DLDevice d, size_t bytes, size_t alignment, DLDataType type) override {
    return allocating_api().AllocDataSpace(d, bytes, alignment, type);
  }
  void* AllocDataSpaceScoped(DLDevice d, int ndim, const int64_t* shape, DLDataType type, Ref scope) override {
    return allocating_api().AllocDataSpaceScoped(d, ndim, shape, type, scope);
  }
  void FreeDataSpace(DLDevice d, void* p) override { chosen_api().FreeDataSpace(d, p); }
  void CopyTensor(DLTensor* from, DLTensor* to, void* stream) override { chosen_api().CopyTensor(from, to, stream); }
  void* CreateStream(DLDevice d) override { return allocating_api().CreateStream(d); }
  void FreeStream(DLDevice d, void* s) override { chosen_api().FreeStream(d, s); }
  void StreamSync(DLDevice d, void* s) override { chosen_api().StreamSync(d, s); }
  void SetStream(DLDevice d, void* s) override { chosen_api().SetStream(d, s); }
  void* GetCurrentStream(DLDevice d) override { return chosen_api().GetCurrentStream(d); }
  void SyncStreamFromTo(DLDevice d, void* from, void* to) override { chosen_api().SyncStreamFromTo(d, from, to); }
  void* AllocWorkspace(DLDevice d, size_t bytes, DLDataType type) override {
    return allocating_api().AllocWorkspace(d, bytes, type);
  }
  void FreeWorkspace(DLDevice d, void* p) override { chosen_api().FreeWorkspace(d, p); }
  void CopyRaw(const void* from, size_t from_offset, void* to, size_t to_offset, size_t bytes, DLDevice d_from,
               DLDevice d_to, DLDataType type, void* stream) override {
    chosen_api().CopyRaw(from, from_offset, to, to_offset, bytes, d_from, d_to, type, stream);
  }
};

int switched_device_api(TVMValue*, int*, int, void* ret, void*) {
  static DeviceAPI* const api = new SwitchedDeviceAPI();  // TVM keeps the pointer for good
  TVMValue v;
  v.v_handle = api;
  return return_value(ret, v, kOpaqueHandle);
}

int switched_call(TVMValue* args, int* codes, int n, void* ret, void* self) {
  const auto& f = *static_cast<const Switched*>(self);
  if (f.own->makes_objects) {
    choice().used = true;
  }
  if (choice().own) {
    return f.own->call(args, codes, n, ret, nullptr);
  }
  TVMValue out;
  int code = kNull;
  if (TVMFuncCall(f.stock, args, codes, n, &out, &code) != 0) {
    return -1;  // TVM has the message
  }
  return guarded([&] { return forward_result(ret, out, code); });
}

void replace_global(const char* name, void* f) {
  if (TVMFuncRegisterGlobal(name, f, 1) != 0) {
    throw Error("TVM can't register " + std::string(name) + ": " + last_tvm_error());
  }
}

// Whether TVM asks the registered device API: it keeps one that it has asked before.
bool is_reached() {
  choice().reached = false;
  choice().probing = true;
  const int64_t exists = 0;  // tvm::runtime::kExist
  Arguments().add(int64_t{kDLOpenCL}).add(int64_t{0}).add(exists).call(global_function("runtime.GetDeviceAttr"));
  choice().probing = false;
  return choice().reached;
}

// Registers the functions above in place of TVM's own. Returns why that is impossible, or "".
std::string put_in_front() {
  Choice& c = choice();
  c.stock_api = static_cast<DeviceAPI*>(Arguments().call(global_function("device_api.opencl")).handle());
  if (!c.stock_api) {
    return "TVM's own OpenCL runtime has no device API";
  }
  c.functions.reserve(opencl_functions().size());  // their addresses are kept
  for (const OpenCLFunction& f : opencl_functions()) {
    void* stock = nullptr;
    if (TVMFuncGetGlobal(f.name, &stock) != 0 || !stock) {
      c.functions.clear();
      return "TVM's own OpenCL runtime has no " + std::string(f.name);
    }
    c.functions.push_back({&f, stock});
  }
  for (Switched& f : c.functions) {
    void* handle = nullptr;
    const bool is_api = std::string(f.own->name) == "device_api.opencl";
    if (TVMFuncCreateFromCFunc(is_api ? switched_device_api : switched_call, &f, nullptr, &handle) != 0) {
      throw Error("TVM can't make a function: " + last_tvm_error());
    }
    replace_global(f.own->name, handle);
    TVMFuncFree(handle);
  }
  if (!is_reached()) {
    for (const Switched& f : c.functions) {
      replace_global(f.own->name, f.stock);
    }
    c.functions.clear();
    return "it has been used in this process already: import tvm_coexec, or load its runtime "
           "library, before OpenCL is used for the first time";
  }
  c.in_front = true;
  return "";
}

std::string abi_sentence(const std::string& mismatch) {
  return "the C++ ABI of this TVM is not the one that the OpenCL runtime was built for: " + mismatch;
}

std::string asked_for() {
  const char* value = std::getenv(kVariable);
  return value ? value : "";
}

void register_own() {
  for (const OpenCLFunction& f : opencl_functions()) {
    register_global(f.name, f.call);
  }
}

}  // namespace

std::string register_opencl() {
  Choice& c = choice();
  const std::string wish = asked_for();
  if (!wish.empty() && wish != "own" && wish != "tvm" && wish != "as-tvm") {
    return std::string(kVariable) + " is '" + wish + "': it must be own or tvm";
  }
  c.tvm_has_opencl = has_global("device_api.opencl");
  if (c.tvm_has_opencl && wish == "as-tvm") {
    return std::string(kVariable) + " is as-tvm, but this TVM has an OpenCL runtime already";
  }
  c.mismatch = abi_mismatch();
  if (!c.tvm_has_opencl) {
    if (wish == "tvm") {
      return std::string(kVariable) +
             " is tvm, but this TVM has no OpenCL runtime of its own: unset it, or use a TVM built with USE_OPENCL=ON";
    }
    if (!c.mismatch.empty()) {
      return abi_sentence(c.mismatch) + "; nothing was registered: use a TVM built with USE_OPENCL=ON";
    }
    if (wish == "as-tvm") {
      set_blocking_copies();
    }
    register_own();
    c.own = true;
    return "";
  }
  if (wish == "tvm") {
    c.why_stock = std::string(kVariable) + " is tvm";
  } else {
    c.why_stock = c.mismatch.empty() ? put_in_front() : abi_sentence(c.mismatch);
    c.own = c.why_stock.empty();
  }
  return "";
}

bool poses_as_tvm() {
  return asked_for() == "as-tvm";
}

bool serves_own_opencl() {
  return choice().own;
}

std::string why_tvms_own_opencl() {
  return choice().why_stock;
}

void use_opencl(const std::string& name) {
  Choice& c = choice();
  if (name != "own" && name != "tvm") {
    throw Error("the OpenCL runtime '" + name + "' is unknown: use own or tvm");
  }
  const bool own = name == "own";
  if (own == c.own) {
    return;
  }
  if (!c.tvm_has_opencl) {
    throw Error("this TVM has no OpenCL runtime of its own: use one built with USE_OPENCL=ON");
  }
  if (!c.mismatch.empty()) {
    throw Error(abi_sentence(c.mismatch));
  }
  if (c.used) {
    throw Error(std::string(c.own ? "this package's" : "TVM's own") +
                " OpenCL runtime has been used in this process already: choose before the first OpenCL array or "
                "module, or set " + kVariable + "=" + name);
  }
  if (!c.in_front) {
    const std::string why = put_in_front();
    if (!why.empty()) {
      throw Error(why);
    }
  }
  c.own = own;
  c.why_stock = own ? "" : "tvm was chosen";
}

}  // namespace coexec
