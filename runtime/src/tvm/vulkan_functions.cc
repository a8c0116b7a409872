#include "vulkan_functions.h"

#include <cstdlib>

#include "abi_check.h"
#include "call.h"
#include "device_api.h"
#include "module.h"
#include "packed.h"
#include "timer.h"

namespace coexec {
namespace {

using namespace tvm_abi;

struct VulkanState {
  bool own = false;
  std::string why_not = "the runtime is not registered";
};

VulkanState& vulkan_state() {
  static VulkanState& s = *new VulkanState();
  return s;
}

int vulkan_device_api(TVMValue*, int*, int, void* ret, void*) {
  TVMValue v;
  v.v_handle = device_api_of(Api::kVulkan);
  return return_value(ret, v, kOpaqueHandle);
}

int load_wgsl(TVMValue* args, int*, int, void* ret, void*) {
  return guarded([&] {
    return return_object(ret, load_module(Api::kVulkan, static_cast<Stream*>(args[0].v_handle)), kModuleHandle);
  });
}

int vulkan_timer(TVMValue* args, int*, int, void* ret, void*) {
  return guarded(
      [&] { return return_object(ret, make_timer(Api::kVulkan, args[0].v_device.device_id), kObjectHandle); });
}

std::string reason_to_stand_aside() {
  const char* value = std::getenv("TVM_COEXEC_VULKAN");
  const std::string wish = value ? value : "";
  if (!wish.empty() && wish != "own" && wish != "tvm") {
    return "TVM_COEXEC_VULKAN is '" + wish + "': it must be own or tvm";
  }
  if (has_global("device_api.vulkan")) {
    return "this TVM has a Vulkan runtime of its own";
  }
  if (wish == "tvm") {
    return "TVM_COEXEC_VULKAN is tvm";
  }
  const std::string mismatch = abi_mismatch();
  return mismatch.empty() ? "" : "the C++ ABI of this TVM is not the one that the runtime was built for: " + mismatch;
}

}  // namespace

void register_vulkan() {
  VulkanState& s = vulkan_state();
  s.why_not = reason_to_stand_aside();
  s.own = s.why_not.empty();
  if (s.own) {
    register_global("profiling.timer.vulkan", vulkan_timer);
    register_global("runtime.module.loadbinary_wgsl", load_wgsl);
    register_global("device_api.vulkan", vulkan_device_api);
  }
}

bool serves_own_vulkan() {
  return vulkan_state().own;
}

std::string why_not_own_vulkan() {
  return vulkan_state().why_not;
}

}  // namespace coexec
