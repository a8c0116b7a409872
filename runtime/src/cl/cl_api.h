// The used subset of OpenCL 1.2 and of SVM (2.0), declared here so that the build needs no headers and no import
// library, and a table of its functions that is filled with dlopen, so that this library also loads on a machine
// without OpenCL and can report what is missing. exec/ calls every driver through such a table: wgpu/ implements it for
// Vulkan.
#pragma once
#include <cstddef>
#include <cstdint>

namespace coexec {

using cl_int = int32_t;
using cl_uint = uint32_t;
using cl_ulong = uint64_t;
using cl_bool = cl_uint;
using cl_bitfield = cl_ulong;
using cl_platform_id = struct _cl_platform_id*;
using cl_device_id = struct _cl_device_id*;
using cl_context = struct _cl_context*;
using cl_command_queue = struct _cl_command_queue*;
using cl_mem = struct _cl_mem*;
using cl_program = struct _cl_program*;
using cl_kernel = struct _cl_kernel*;
using cl_event = struct _cl_event*;

struct cl_buffer_region {
  size_t origin;
  size_t size;
};

enum : cl_int {
  CL_SUCCESS = 0,
  CL_DEVICE_NOT_FOUND = -1,
  CL_PLATFORM_NOT_FOUND_KHR = -1001,
};

enum : cl_int { CL_COMPLETE = 0, CL_RUNNING = 1, CL_SUBMITTED = 2, CL_QUEUED = 3 };

enum : cl_uint {
  CL_PLATFORM_VERSION = 0x0901,
  CL_PLATFORM_NAME = 0x0902,
  CL_DEVICE_TYPE = 0x1000,
  CL_DEVICE_MAX_COMPUTE_UNITS = 0x1002,
  CL_DEVICE_MAX_WORK_GROUP_SIZE = 0x1004,
  CL_DEVICE_MAX_WORK_ITEM_SIZES = 0x1005,
  CL_DEVICE_MAX_CLOCK_FREQUENCY = 0x100C,
  CL_DEVICE_MAX_MEM_ALLOC_SIZE = 0x1010,
  CL_DEVICE_MEM_BASE_ADDR_ALIGN = 0x1019,
  CL_DEVICE_GLOBAL_MEM_CACHE_SIZE = 0x101E,
  CL_DEVICE_GLOBAL_MEM_SIZE = 0x101F,
  CL_DEVICE_LOCAL_MEM_SIZE = 0x1023,
  CL_DEVICE_NAME = 0x102B,
  CL_DEVICE_VENDOR = 0x102C,
  CL_DRIVER_VERSION = 0x102D,
  CL_DEVICE_VERSION = 0x102F,
  CL_DEVICE_EXTENSIONS = 0x1030,
  CL_DEVICE_HOST_UNIFIED_MEMORY = 0x1035,
  CL_DEVICE_SVM_CAPABILITIES = 0x1053,
  CL_QUEUE_CONTEXT = 0x1090,
  COEXEC_DEVICE_MAX_BUFFERS = 0xC0E0,  // ours, of wgpu/: buffers that one kernel can take
  COEXEC_DEVICE_SUBGROUP = 0xC0E1,     // ours, of wgpu/: the smallest subgroup
  COEXEC_DEVICE_MAX_BINDING = 0xC0E2,  // ours, of wgpu/: bytes of a buffer that a kernel can access
  CL_QUEUE_PROPERTIES = 0x1093,
  CL_PROGRAM_BINARY_SIZES = 0x1165,
  CL_PROGRAM_BINARIES = 0x1166,
  CL_PROGRAM_BUILD_LOG = 0x1183,
  CL_KERNEL_WORK_GROUP_SIZE = 0x11B0,
  CL_BUFFER_CREATE_TYPE_REGION = 0x1220,
  CL_EVENT_COMMAND_EXECUTION_STATUS = 0x11D3,
  CL_PROFILING_COMMAND_QUEUED = 0x1280,
  CL_PROFILING_COMMAND_START = 0x1282,
  CL_PROFILING_COMMAND_END = 0x1283,
};

enum : cl_bitfield {
  CL_DEVICE_TYPE_CPU = 1 << 1,
  CL_DEVICE_TYPE_GPU = 1 << 2,
  CL_DEVICE_TYPE_ACCELERATOR = 1 << 3,
  CL_DEVICE_TYPE_ALL = 0xFFFFFFFF,
  CL_DEVICE_SVM_COARSE_GRAIN_BUFFER = 1 << 0,
  CL_DEVICE_SVM_FINE_GRAIN_BUFFER = 1 << 1,
  CL_DEVICE_SVM_ATOMICS = 1 << 3,
  CL_QUEUE_PROFILING_ENABLE = 1 << 1,
  CL_MEM_READ_WRITE = 1 << 0,
  CL_MEM_USE_HOST_PTR = 1 << 3,
  CL_MEM_SVM_FINE_GRAIN_BUFFER = 1 << 10,
  CL_MAP_READ = 1 << 0,
  CL_MAP_WRITE = 1 << 1,
  CL_MAP_WRITE_INVALIDATE_REGION = 1 << 2,
};

constexpr cl_bool kBlocking = 1;
constexpr cl_bool kAsync = 0;

// X(return type, name without "cl", arguments). "Optional" functions exist only since OpenCL 2.0, or are only used by
// tests.
#define COEXEC_CL_REQUIRED(X)                                                                                          \
  X(cl_int, GetPlatformIDs, (cl_uint, cl_platform_id*, cl_uint*))                                                      \
  X(cl_int, GetPlatformInfo, (cl_platform_id, cl_uint, size_t, void*, size_t*))                                        \
  X(cl_int, GetDeviceIDs, (cl_platform_id, cl_bitfield, cl_uint, cl_device_id*, cl_uint*))                             \
  X(cl_int, GetDeviceInfo, (cl_device_id, cl_uint, size_t, void*, size_t*))                                            \
  X(cl_context, CreateContext,                                                                                         \
    (const intptr_t*, cl_uint, const cl_device_id*, void (*)(const char*, const void*, size_t, void*), void*,          \
     cl_int*))                                                                                                         \
  X(cl_command_queue, CreateCommandQueue, (cl_context, cl_device_id, cl_bitfield, cl_int*))                            \
  X(cl_int, ReleaseCommandQueue, (cl_command_queue))                                                                   \
  X(cl_mem, CreateBuffer, (cl_context, cl_bitfield, size_t, void*, cl_int*))                                           \
  X(cl_mem, CreateSubBuffer, (cl_mem, cl_bitfield, cl_uint, const void*, cl_int*))                                     \
  X(cl_int, ReleaseMemObject, (cl_mem))                                                                                \
  X(cl_program, CreateProgramWithSource, (cl_context, cl_uint, const char**, const size_t*, cl_int*))                  \
  X(cl_program, CreateProgramWithBinary,                                                                               \
    (cl_context, cl_uint, const cl_device_id*, const size_t*, const unsigned char**, cl_int*, cl_int*))                \
  X(cl_int, BuildProgram, (cl_program, cl_uint, const cl_device_id*, const char*, void (*)(cl_program, void*), void*)) \
  X(cl_int, GetProgramInfo, (cl_program, cl_uint, size_t, void*, size_t*))                                             \
  X(cl_int, GetProgramBuildInfo, (cl_program, cl_device_id, cl_uint, size_t, void*, size_t*))                          \
  X(cl_int, ReleaseProgram, (cl_program))                                                                              \
  X(cl_kernel, CreateKernel, (cl_program, const char*, cl_int*))                                                       \
  X(cl_int, SetKernelArg, (cl_kernel, cl_uint, size_t, const void*))                                                   \
  X(cl_int, GetKernelWorkGroupInfo, (cl_kernel, cl_device_id, cl_uint, size_t, void*, size_t*))                        \
  X(cl_int, ReleaseKernel, (cl_kernel))                                                                                \
  X(cl_int, EnqueueNDRangeKernel,                                                                                      \
    (cl_command_queue, cl_kernel, cl_uint, const size_t*, const size_t*, const size_t*, cl_uint, const cl_event*,      \
     cl_event*))                                                                                                       \
  X(cl_int, EnqueueReadBuffer,                                                                                         \
    (cl_command_queue, cl_mem, cl_bool, size_t, size_t, void*, cl_uint, const cl_event*, cl_event*))                   \
  X(cl_int, EnqueueWriteBuffer,                                                                                        \
    (cl_command_queue, cl_mem, cl_bool, size_t, size_t, const void*, cl_uint, const cl_event*, cl_event*))             \
  X(cl_int, EnqueueCopyBuffer,                                                                                         \
    (cl_command_queue, cl_mem, cl_mem, size_t, size_t, size_t, cl_uint, const cl_event*, cl_event*))                   \
  X(void*, EnqueueMapBuffer,                                                                                           \
    (cl_command_queue, cl_mem, cl_bool, cl_bitfield, size_t, size_t, cl_uint, const cl_event*, cl_event*, cl_int*))    \
  X(cl_int, EnqueueUnmapMemObject, (cl_command_queue, cl_mem, void*, cl_uint, const cl_event*, cl_event*))             \
  X(cl_int, EnqueueMarkerWithWaitList, (cl_command_queue, cl_uint, const cl_event*, cl_event*))                        \
  X(cl_int, EnqueueBarrierWithWaitList, (cl_command_queue, cl_uint, const cl_event*, cl_event*))                       \
  X(cl_int, WaitForEvents, (cl_uint, const cl_event*))                                                                 \
  X(cl_int, GetEventInfo, (cl_event, cl_uint, size_t, void*, size_t*))                                                 \
  X(cl_int, GetEventProfilingInfo, (cl_event, cl_uint, size_t, void*, size_t*))                                        \
  X(cl_int, ReleaseEvent, (cl_event))                                                                                  \
  X(cl_int, Flush, (cl_command_queue))                                                                                 \
  X(cl_int, Finish, (cl_command_queue))

#define COEXEC_CL_OPTIONAL(X)                                                                                 \
  X(cl_command_queue, CreateCommandQueueWithProperties, (cl_context, cl_device_id, const cl_ulong*, cl_int*)) \
  X(void*, SVMAlloc, (cl_context, cl_bitfield, size_t, cl_uint))                                              \
  X(void, SVMFree, (cl_context, void*))                                                                       \
  X(cl_int, SetKernelArgSVMPointer, (cl_kernel, cl_uint, const void*))                                        \
  X(cl_int, EnqueueSVMMemcpy,                                                                                 \
    (cl_command_queue, cl_bool, void*, const void*, size_t, cl_uint, const cl_event*, cl_event*))             \
  X(cl_int, EnqueueSVMMap,                                                                                    \
    (cl_command_queue, cl_bool, cl_bitfield, void*, size_t, cl_uint, const cl_event*, cl_event*))             \
  X(cl_int, EnqueueSVMUnmap, (cl_command_queue, void*, cl_uint, const cl_event*, cl_event*))                  \
  X(cl_event, CreateUserEvent, (cl_context, cl_int*))                                                         \
  X(cl_int, SetUserEventStatus, (cl_event, cl_int))                                                           \
  X(cl_int, GetCommandQueueInfo, (cl_command_queue, cl_uint, size_t, void*, size_t*))

// The APIs of GPUs.
enum class Api { kOpenCL, kVulkan };

const char* api_name(Api api);   // "opencl", as TVM names the devices
const char* api_title(Api api);  // "OpenCL"

struct ClApi {
  // EnqueueWriteBuffer has copied the host's bytes when it returns, whether or not it is asked to wait.
  bool copies_at_enqueue = false;
#define COEXEC_CL_MEMBER(ret, name, args) ret(*name) args = nullptr;
  COEXEC_CL_REQUIRED(COEXEC_CL_MEMBER)
  COEXEC_CL_OPTIONAL(COEXEC_CL_MEMBER)
#undef COEXEC_CL_MEMBER
  bool has_svm() const;
};

// The table of an API; the first call opens its library. Every call throws Error with the reason if there is none.
const ClApi& driver(Api api);
inline const ClApi& cl() {
  return driver(Api::kOpenCL);
}

}  // namespace coexec
