// This runtime as the one that serves TVM's vulkan devices, where TVM has none of its own.
#pragma once
#include <string>

namespace coexec {

// Registers it, unless TVM has a Vulkan runtime or TVM_COEXEC_VULKAN is tvm.
void register_vulkan();

bool serves_own_vulkan();          // whether this runtime serves TVM's vulkan devices
std::string why_not_own_vulkan();  // why not; "" if it does

}  // namespace coexec
