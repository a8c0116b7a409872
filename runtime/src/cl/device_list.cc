#include "device_list.h"

#include <algorithm>
#include <cctype>
#include <cstdio>

#include "cl_error.h"

namespace coexec {
namespace {

template <class T>
T query(const ClApi& api, cl_device_id device, cl_uint key, T fallback = T()) {
  T value = fallback;
  return api.GetDeviceInfo(device, key, sizeof value, &value, nullptr) == CL_SUCCESS ? value : fallback;
}

template <class Get>
std::string query_text(Get get) {
  size_t n = 0;
  if (get(0, nullptr, &n) != CL_SUCCESS || n == 0) {
    return "";
  }
  std::string text(n, '\0');
  if (get(n, &text[0], nullptr) != CL_SUCCESS) {
    return "";
  }
  text.resize(text.find_last_not_of('\0') + 1);
  return text;
}

std::string device_text(const ClApi& api, cl_device_id d, cl_uint key) {
  return query_text([&](size_t n, void* p, size_t* out) { return api.GetDeviceInfo(d, key, n, p, out); });
}

std::string platform_text(const ClApi& api, cl_platform_id p, cl_uint key) {
  return query_text([&](size_t n, void* to, size_t* out) { return api.GetPlatformInfo(p, key, n, to, out); });
}

bool has_word(const std::string& words, const std::string& word) {
  return (" " + words + " ").find(" " + word + " ") != std::string::npos;
}

DeviceInfo describe(Api which, cl_device_id d) {
  const ClApi& api = driver(which);
  DeviceInfo info;
  info.api = which;
  info.handle = d;
  info.name = device_text(api, d, CL_DEVICE_NAME);
  info.vendor = device_text(api, d, CL_DEVICE_VENDOR);
  info.version = device_text(api, d, CL_DEVICE_VERSION);
  info.driver = device_text(api, d, CL_DRIVER_VERSION);
  info.type = query<cl_bitfield>(api, d, CL_DEVICE_TYPE);
  info.svm = query<cl_bitfield>(api, d, CL_DEVICE_SVM_CAPABILITIES);  // an error before OpenCL 2.0, which leaves 0
  info.unified = query<cl_bool>(api, d, CL_DEVICE_HOST_UNIFIED_MEMORY) != 0;
  const std::string extensions = device_text(api, d, CL_DEVICE_EXTENSIONS);
  info.fp16 = has_word(extensions, "cl_khr_fp16");
  info.fp64 = has_word(extensions, "cl_khr_fp64") || has_word(extensions, "cl_amd_fp64");
  info.compute_units = query<cl_uint>(api, d, CL_DEVICE_MAX_COMPUTE_UNITS);
  info.clock_mhz = query<cl_uint>(api, d, CL_DEVICE_MAX_CLOCK_FREQUENCY);
  info.max_work_group = query<size_t>(api, d, CL_DEVICE_MAX_WORK_GROUP_SIZE, 1);
  size_t items[16] = {1, 1, 1};  // a device may have more than three dimensions
  if (api.GetDeviceInfo(d, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof items, items, nullptr) == CL_SUCCESS) {
    std::copy(items, items + 3, info.max_work_items);
  }
  info.local_bytes = query<cl_ulong>(api, d, CL_DEVICE_LOCAL_MEM_SIZE);
  info.global_bytes = query<cl_ulong>(api, d, CL_DEVICE_GLOBAL_MEM_SIZE);
  info.max_alloc_bytes = query<cl_ulong>(api, d, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  info.cache_bytes = query<cl_ulong>(api, d, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE);
  info.base_align_bytes = std::max<size_t>(1, query<cl_uint>(api, d, CL_DEVICE_MEM_BASE_ADDR_ALIGN, 1024) / 8);
  if (which == Api::kVulkan) {  // OpenCL has no such queries
    info.max_buffers = query<cl_uint>(api, d, COEXEC_DEVICE_MAX_BUFFERS, info.max_buffers);
    info.subgroup = query<cl_uint>(api, d, COEXEC_DEVICE_SUBGROUP, 1);
    info.max_binding_bytes = query<cl_ulong>(api, d, COEXEC_DEVICE_MAX_BINDING, info.max_binding_bytes);
  }
  return info;
}

int rank(const DeviceInfo& d) {
  return d.type & CL_DEVICE_TYPE_GPU           ? 0
         : d.type & CL_DEVICE_TYPE_ACCELERATOR ? 1
         : d.type & CL_DEVICE_TYPE_CPU         ? 2
                                               : 3;
}

std::string lower(std::string s) {
  std::transform(s.begin(), s.end(), s.begin(), [](unsigned char c) { return std::tolower(c); });
  return s;
}

bool matches(const DeviceInfo& d, const std::string& item) {
  if (item == "all") {
    return true;
  }
  if (item == "gpu" || item == "cpu" || item == "accelerator") {
    return d.type_name() == item;
  }
  int platform = 0, device = 0, used = 0;
  if (std::sscanf(item.c_str(), "%d:%d%n", &platform, &device, &used) == 2 &&
      static_cast<size_t>(used) == item.size()) {
    return d.platform_index == platform && d.device_index == device;
  }
  return lower(d.platform_name).find(item) != std::string::npos || lower(d.name).find(item) != std::string::npos;
}

std::vector<std::string> items_of(const std::string& text) {
  std::vector<std::string> items(1);
  for (char c : text) {
    if (c == ',') {
      items.emplace_back();
    } else {
      items.back() += c;
    }
  }
  for (std::string& s : items) {
    const size_t a = s.find_first_not_of(' '), b = s.find_last_not_of(' ');
    s = a == std::string::npos ? "" : lower(s.substr(a, b - a + 1));
  }
  items.erase(std::remove(items.begin(), items.end(), ""), items.end());
  return items;
}

}  // namespace

const char* DeviceInfo::type_name() const {
  static const char* const names[] = {"gpu", "accelerator", "cpu", "custom"};
  return names[rank(*this)];
}

std::vector<DeviceInfo> list_devices(Api which) {
  const ClApi& api = driver(which);
  cl_uint n_platforms = 0;
  const cl_int code = api.GetPlatformIDs(0, nullptr, &n_platforms);
  if (code == CL_PLATFORM_NOT_FOUND_KHR || (code == CL_SUCCESS && n_platforms == 0)) {
    throw Error(
        "OpenCL is not available: the ICD loader is installed but no OpenCL driver (install your GPU's driver; Debian: "
        "pocl-opencl-icd for a CPU device)");
  }
  check(code, "listing the OpenCL platforms (clGetPlatformIDs)");
  std::vector<cl_platform_id> platforms(n_platforms);
  check(api.GetPlatformIDs(n_platforms, platforms.data(), nullptr), "listing the OpenCL platforms (clGetPlatformIDs)");
  std::vector<DeviceInfo> all;
  for (cl_uint p = 0; p < n_platforms; ++p) {
    cl_uint n = 0;
    if (api.GetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, 0, nullptr, &n) != CL_SUCCESS || n == 0) {
      continue;  // a driver without a device must not hide the others
    }
    std::vector<cl_device_id> ids(n);
    if (api.GetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, n, ids.data(), nullptr) != CL_SUCCESS) {
      continue;
    }
    for (cl_uint i = 0; i < n; ++i) {
      DeviceInfo info = describe(which, ids[i]);
      info.platform_index = static_cast<int>(p);
      info.device_index = static_cast<int>(i);
      info.platform_name = platform_text(api, platforms[p], CL_PLATFORM_NAME);
      info.platform_version = platform_text(api, platforms[p], CL_PLATFORM_VERSION);
      all.push_back(std::move(info));
    }
  }
  if (all.empty()) {
    const std::string title = api_title(which);
    throw Error(title + " is not available: none of the " + std::to_string(n_platforms) + " installed " + title +
                " drivers finds a device");
  }
  return all;
}

std::vector<DeviceInfo> select_devices(const std::vector<DeviceInfo>& all, const std::string& wanted) {
  std::vector<DeviceInfo> ordered = all;
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const DeviceInfo& a, const DeviceInfo& b) { return rank(a) < rank(b); });
  std::vector<DeviceInfo> chosen;
  for (const std::string& item : items_of(wanted)) {
    for (const DeviceInfo& d : ordered) {
      const bool seen =
          std::any_of(chosen.begin(), chosen.end(), [&](const DeviceInfo& c) { return c.handle == d.handle; });
      if (!seen && matches(d, item)) {
        chosen.push_back(d);
      }
    }
  }
  if (chosen.empty()) {
    const bool vulkan = !all.empty() && all[0].api == Api::kVulkan;
    std::string text = std::string(vulkan ? "TVM_COEXEC_VULKAN_DEVICES" : "TVM_COEXEC_OPENCL_DEVICES") + " is '" +
                       wanted + "', which matches none of the " + (vulkan ? "Vulkan" : "OpenCL") + " devices:";
    for (const DeviceInfo& d : all) {
      text += " " + std::to_string(d.platform_index) + ":" + std::to_string(d.device_index) + " " + d.name + " (" +
              d.type_name() + ", " + d.platform_name + ");";
    }
    text.back() = '.';
    throw Error(text);
  }
  return chosen;
}

MemoryMode choose_memory(const DeviceInfo& device, MemoryMode wanted, bool api_has_svm) {
  if (device.api == Api::kVulkan) {
    if (wanted != MemoryMode::kAuto && wanted != MemoryMode::kBuffer) {
      throw Error("TVM_COEXEC_VULKAN_MEMORY is '" + std::string(memory_mode_name(wanted)) +
                  "', but Vulkan devices have buffers only: use buffer or auto");
    }
    return MemoryMode::kBuffer;
  }
  const cl_bitfield svm = api_has_svm ? device.svm : 0;
  const bool fine = svm & CL_DEVICE_SVM_FINE_GRAIN_BUFFER;
  const bool coarse = svm & CL_DEVICE_SVM_COARSE_GRAIN_BUFFER;
  if (wanted == MemoryMode::kAuto) {
    const bool shared = device.unified || (device.type & CL_DEVICE_TYPE_CPU);
    return !shared  ? MemoryMode::kBuffer
           : fine   ? MemoryMode::kFineSvm
           : coarse ? MemoryMode::kCoarseSvm
                    : MemoryMode::kHostPtr;
  }
  if ((wanted == MemoryMode::kFineSvm && !fine) || (wanted == MemoryMode::kCoarseSvm && !coarse)) {
    throw Error("TVM_COEXEC_OPENCL_MEMORY is '" + std::string(memory_mode_name(wanted)) + "', but the OpenCL device " +
                device.name + " has no " + (wanted == MemoryMode::kFineSvm ? "fine" : "coarse") +
                "-grained shared virtual memory: use " + (wanted == MemoryMode::kFineSvm && coarse ? "coarse, " : "") +
                "buffer, hostptr or auto");
  }
  return wanted;
}

}  // namespace coexec
