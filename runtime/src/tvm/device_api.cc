#include "device_api.h"

#include "../cl/cl_error.h"
#include "../exec/copy.h"
#include "../exec/region.h"
#include "../exec/trace.h"
#include "../exec/workspace_pool.h"
#include "gpu_api.h"
#include "packed.h"

namespace coexec {
namespace {

using namespace tvm_abi;

void check_scope(Api api, const Ref& scope) {
  const std::string s = to_std(scope);
  if (!s.empty() && s != "global") {
    throw Error("memory scope '" + s + "' is not supported on " + api_name(api) + " by this runtime, only 'global'" +
                (api == Api::kOpenCL ? ": for textures use a TVM built with USE_OPENCL=ON" : ""));
  }
}

// The stride of a dimension of extent 1 does not matter.
void check_compact(const DLTensor& t, const char* role) {
  if (!t.strides) {
    return;
  }
  int64_t expected = 1;
  for (int i = t.ndim - 1; i >= 0; --i) {
    if (t.shape[i] == 0) {
      return;
    }
    if (t.shape[i] != 1 && t.strides[i] != expected) {
      std::string shape, strides;
      for (int j = 0; j < t.ndim; ++j) {
        shape += (j ? ", " : "") + std::to_string(t.shape[j]);
        strides += (j ? ", " : "") + std::to_string(t.strides[j]);
      }
      throw Error("the " + std::string(role) + " of a copy on a GPU is not contiguous (shape (" + shape +
                  "), strides (" + strides + ")): copy it to a contiguous array first");
    }
    expected *= t.shape[i];
  }
}

Endpoint endpoint(const void* data, size_t offset, DLDevice device) {
  char* address = static_cast<char*>(const_cast<void*>(data)) + offset;
  switch (device.device_type) {
    case kDLOpenCL:
    case kDLVulkan:
      return {address, slot_of(device)};
    case kDLCPU:
    case kDLCUDAHost:
    case kDLROCMHost:
      return {address, -1};
    default:
      throw Error("a GPU of this runtime can't copy from or to a device of type " + std::to_string(device.device_type) +
                  ": copy to the CPU first");
  }
}

// "3.0" of "OpenCL 3.0 PoCL ...".
std::string version_number(const std::string& version) {
  const size_t begin = version.find_first_of("0123456789");
  return begin == std::string::npos ? version : version.substr(begin, version.find(' ', begin) - begin);
}

// tvm::runtime::DeviceAttrKind
enum Attr {
  kExist = 0,
  kMaxThreadsPerBlock = 1,
  kWarpSize = 2,
  kMaxSharedMemoryPerBlock = 3,
  kComputeVersion = 4,
  kDeviceName = 5,
  kMaxClockRate = 6,
  kMultiProcessorCount = 7,
  kMaxThreadDimensions = 8,
  kApiVersion = 11,
  kDriverVersion = 12,
  kL2CacheSizeBytes = 13,
  kTotalGlobalMemory = 14,
};

class GpuDeviceAPI final : public DeviceAPI {
 public:
  explicit GpuDeviceAPI(Api api) : api_(api) {}

  // Only raises an error for a device that does not exist: kernels are launched on the device of their buffers.
  void SetDevice(DLDevice d) override { device_of(d); }

  void GetAttr(DLDevice d, int kind, void* rv) override {
    if (kind == kExist) {
      return_int(rv, Workspace::exists(api_, d.device_id));
      return;
    }
    const DeviceInfo& info = device_of(d).info;
    switch (kind) {
      case kMaxThreadsPerBlock:
        return_int(rv, static_cast<int64_t>(info.max_work_group));
        break;
      case kWarpSize:
        return_int(rv, info.subgroup);  // 1 on OpenCL, as in stock TVM: OpenCL 1.2 has no query for it
        break;
      case kMaxSharedMemoryPerBlock:
        return_int(rv, static_cast<int64_t>(info.local_bytes));
        break;
      case kComputeVersion:
        return_string(rv, version_number(info.version));
        break;
      case kDeviceName:
        return_string(rv, info.name);
        break;
      case kMaxClockRate:
        return_int(rv, info.clock_mhz);
        break;
      case kMultiProcessorCount:
        return_int(rv, info.compute_units);
        break;
      case kMaxThreadDimensions:
        return_string(rv, "[" + std::to_string(info.max_work_items[0]) + ", " + std::to_string(info.max_work_items[1]) +
                              ", " + std::to_string(info.max_work_items[2]) + "]");
        break;
      case kApiVersion:
        return_int(rv, 120);  // the version of the API in use, in the form of CL_TARGET_OPENCL_VERSION
        break;
      case kDriverVersion:
        return_string(rv, info.driver);
        break;
      case kL2CacheSizeBytes:
        return_int(rv, static_cast<int64_t>(info.cache_bytes));
        break;
      case kTotalGlobalMemory:
        return_int(rv, static_cast<int64_t>(info.global_bytes));
        break;
      default:
        break;  // no query in OpenCL: null
    }
  }

  size_t GetDataSize(const DLTensor& t, Ref scope) override {
    check_scope(api_, scope);
    return tensor_bytes(t);
  }

  void GetTargetProperty(DLDevice d, const std::string& name, void* rv) override {
    const DeviceInfo& info = device_of(d).info;
    if (name == "max_threads_per_block" || name == "max_num_threads") {
      return_int(rv, static_cast<int64_t>(info.max_work_group));
    } else if (name == "max_shared_memory_per_block") {
      return_int(rv, static_cast<int64_t>(info.local_bytes));
    } else if (name == "thread_warp_size") {
      return_int(rv, info.subgroup);
    } else if (name == "device_name") {
      return_string(rv, info.name);
    } else if (name == "supports_float16" && info.fp16) {
      return_int(rv, 1);
    }
  }

  void* AllocDataSpace(DLDevice d, size_t bytes, size_t alignment, DLDataType) override {
    return allocate_region(device_of(d), bytes, alignment)->base;
  }

  void* AllocDataSpaceScoped(DLDevice d, int ndim, const int64_t* shape, DLDataType t, Ref scope) override {
    check_scope(api_, scope);
    return allocate_region(device_of(d), tensor_bytes(ndim, shape, t), 128)->base;
  }

  void FreeDataSpace(DLDevice, void* p) override { free_region(p); }

  void CopyTensor(DLTensor* from, DLTensor* to, void* stream) override {
    check_compact(*from, "source");
    check_compact(*to, "destination");
    const size_t n = tensor_bytes(*from);
    if (n != tensor_bytes(*to)) {
      throw Error("a copy needs arrays of equal size, not " + std::to_string(n) + " and " +
                  std::to_string(tensor_bytes(*to)) + " bytes");
    }
    copy(endpoint(from->data, from->byte_offset, from->device), endpoint(to->data, to->byte_offset, to->device), n,
         stream);
  }

  void* CreateStream(DLDevice d) override { return device_of(d).create_stream(); }
  void FreeStream(DLDevice d, void* s) override { device_of(d).free_stream(static_cast<Queue*>(s)); }
  void StreamSync(DLDevice d, void* s) override {
    const Timed wait(SpanKind::kWait, device_of(d).slot);
    device_of(d).sync(s);
  }
  void SetStream(DLDevice d, void* s) override { device_of(d).set_current(s); }
  void* GetCurrentStream(DLDevice d) override { return device_of(d).current_handle(); }
  void SyncStreamFromTo(DLDevice d, void* from, void* to) override { device_of(d).sync_from_to(from, to); }

  void* AllocWorkspace(DLDevice d, size_t bytes, DLDataType) override {
    return WorkspacePool::of(device_of(d)).take(bytes);
  }
  void FreeWorkspace(DLDevice d, void* p) override { WorkspacePool::of(device_of(d)).give_back(p); }

  void CopyRaw(const void* from, size_t from_offset, void* to, size_t to_offset, size_t bytes, DLDevice d_from,
               DLDevice d_to, DLDataType, void* stream) override {
    copy(endpoint(from, from_offset, d_from), endpoint(to, to_offset, d_to), bytes, stream);
  }

 private:
  Device& device_of(DLDevice d) const { return Workspace::get(api_).device(d.device_id); }

  const Api api_;
};

}  // namespace

DeviceAPI* device_api_of(Api api) {
  static GpuDeviceAPI* const opencl = new GpuDeviceAPI(Api::kOpenCL);  // TVM keeps the pointers for good
  static GpuDeviceAPI* const vulkan = new GpuDeviceAPI(Api::kVulkan);
  return api == Api::kOpenCL ? opencl : vulkan;
}

}  // namespace coexec
