// Which API serves a device of TVM.
#pragma once
#include <optional>

#include "../cl/device.h"
#include "opencl_choice.h"
#include "tvm_abi.h"
#include "vulkan_functions.h"

namespace coexec {

inline std::optional<Api> api_of(tvm_abi::DLDevice d) {
  switch (d.device_type) {
    case tvm_abi::kDLOpenCL:
      return Api::kOpenCL;
    case tvm_abi::kDLVulkan:
      return Api::kVulkan;
    default:
      return std::nullopt;
  }
}

// The slot of a device of this runtime, -1 for others: the host's.
inline int slot_of(tvm_abi::DLDevice d) {
  const auto api = api_of(d);
  return !api ? -1 : d.device_id + (*api == Api::kVulkan ? kMaxDevices : 0);
}

inline bool serves_own(Api api) {
  return api == Api::kOpenCL ? serves_own_opencl() : serves_own_vulkan();
}

}  // namespace coexec
