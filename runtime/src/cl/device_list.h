// Lists the devices of an API and their properties, in the order in which they become opencl(0), opencl(1), ...
#pragma once
#include <string>
#include <vector>

#include "cl_api.h"
#include "options.h"

namespace coexec {

struct DeviceInfo {
  Api api = Api::kOpenCL;
  cl_device_id handle = nullptr;
  int platform_index = 0;  // index as in clinfo
  int device_index = 0;
  std::string platform_name, platform_version;
  std::string name, vendor, version, driver;
  cl_bitfield type = 0;
  cl_bitfield svm = 0;
  bool unified = false;  // host and device share memory
  bool fp16 = false, fp64 = false;
  cl_uint compute_units = 0, clock_mhz = 0;
  size_t max_work_group = 0;
  size_t max_work_items[3] = {1, 1, 1};
  cl_ulong local_bytes = 0, global_bytes = 0, max_alloc_bytes = 0, cache_bytes = 0;
  size_t base_align_bytes = 128;
  cl_uint max_buffers = 1024;                                   // that one kernel can take
  cl_uint subgroup = 1;                                         // work-items that run in lockstep, if the API can tell
  cl_ulong max_binding_bytes = static_cast<cl_ulong>(-1) >> 1;  // of a buffer that a kernel can access

  const char* type_name() const;  // "gpu", "accelerator", "cpu" or "custom"
};

// Every device of every platform, in the order in which the drivers list them.
std::vector<DeviceInfo> list_devices(Api api);

// The selected devices, in order. `wanted` is a comma-separated list of "all", "gpu", "cpu", "accelerator", "P:D"
// (indices of platform and device), or part of a platform's or device's name. Devices that match one item are ordered
// GPUs, accelerators, CPUs. Error if no device matches.
std::vector<DeviceInfo> select_devices(const std::vector<DeviceInfo>& all, const std::string& wanted);

// The memory mode for a device: `wanted` (Error if the device does not support it), or the best one for kAuto.
MemoryMode choose_memory(const DeviceInfo& device, MemoryMode wanted, bool api_has_svm);

}  // namespace coexec
