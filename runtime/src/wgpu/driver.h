// Vulkan through wgpu-native: the function table of cl_api.h, implemented over WebGPU's C API.
#pragma once
#include <string>

#include "../cl/cl_api.h"

namespace coexec {

// Fills the table. Returns why Vulkan is not available, or "".
std::string make_wgpu_driver(ClApi* api);

// Where to look for wgpu-native's library if TVM_COEXEC_LIBWGPU is not set; before Vulkan is first used.
void set_wgpu_library(const std::string& path);

// Why the first Vulkan device does not take this WGSL, in the words of wgpu-native's compiler, or "". Also "" in a process
// that was forked from the one that has opened the driver, and so can't use it.
std::string check_wgsl(const std::string& source);

}  // namespace coexec
