#include "driver.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <thread>

#include "../cl/cl_error.h"
#include "objects.h"

namespace coexec {

namespace {

// The process that has opened the driver. One that is forked later lacks the driver's threads, and would wait for them.
pid_t& process_of_driver() {
  static pid_t pid = 0;
  return pid;
}

bool is_forked() {
  return process_of_driver() != getpid();
}

}  // namespace

wg::GpuPtr _cl_context::gpu() {
  if (is_forked()) {
    set_error_detail(wg::kLost, "this process was forked from one that had opened the driver; start a new one instead");
    return nullptr;
  }
  std::lock_guard<std::mutex> lock(mu);
  if (!gpu_ || gpu_->is_lost()) {
    std::string why;
    gpu_ = wg::Gpu::open(*adapter, &why);
    if (!gpu_) {
      set_error_detail(wg::kLost, "the device can't be opened: " + why);
    }
  }
  return gpu_;
}

bool _cl_event::finish() {
  int64_t unknown = 0;
  end_ns.compare_exchange_strong(unknown, wg::host_clock_ns());
  if (read && !gpu->take(read)) {
    error = wg::kLost;
  }
  if (times && !gpu->take(times)) {
    timed = false;
  }
  if (gpu->is_lost()) {
    set_error_detail(wg::kLost, gpu->why_lost());
    error = wg::kLost;
  }
  return error == 0;
}

namespace wg {
namespace {

cl_platform_id wgpu_platform() {
  static _cl_platform_id* const platform = new _cl_platform_id();
  return platform;
}

std::vector<_cl_device_id*>& wgpu_adapters() {
  static auto& found = *new std::vector<_cl_device_id*>([] {
    std::vector<_cl_device_id*> all;
    for (AdapterRecord& a : list_adapters()) {
      all.push_back(new _cl_device_id{std::move(a)});
    }
    return all;
  }());
  return found;
}

cl_int answer(const void* from, size_t bytes, size_t n, void* to, size_t* size) {
  if (size) {
    *size = bytes;
  }
  if (to) {
    std::memcpy(to, from, std::min(n, bytes));
  }
  return CL_SUCCESS;
}

cl_int answer_text(const std::string& text, size_t n, void* to, size_t* size) {
  return answer(text.c_str(), text.size() + 1, n, to, size);
}

template <class T>
cl_int answer_number(T value, size_t n, void* to, size_t* size) {
  return answer(&value, sizeof value, n, to, size);
}

cl_int wgpu_platforms(cl_uint n, cl_platform_id* to, cl_uint* found) {
  if (found) {
    *found = 1;
  }
  if (to && n > 0) {
    to[0] = wgpu_platform();
  }
  return CL_SUCCESS;
}

cl_int wgpu_platform_info(cl_platform_id, cl_uint key, size_t n, void* to, size_t* size) {
  const uint32_t v = wgpu().GetVersion();
  return answer_text(key == CL_PLATFORM_NAME ? "wgpu-native"
                                             : std::to_string(v >> 24) + "." + std::to_string(v >> 16 & 255) + "." +
                                                   std::to_string(v >> 8 & 255),
                     n, to, size);
}

cl_int wgpu_devices(cl_platform_id, cl_bitfield, cl_uint n, cl_device_id* to, cl_uint* found) {
  const auto& all = wgpu_adapters();
  if (found) {
    *found = static_cast<cl_uint>(all.size());
  }
  if (to) {
    std::copy(all.begin(), all.begin() + std::min<size_t>(n, all.size()), to);
  }
  return all.empty() ? CL_DEVICE_NOT_FOUND : CL_SUCCESS;
}

cl_bitfield device_type(const AdapterRecord& adapter) {
  switch (adapter.kind) {
    case kDiscreteGpu:
    case kIntegratedGpu:
      return CL_DEVICE_TYPE_GPU;
    case kCpu:
      return CL_DEVICE_TYPE_CPU;
    default:
      return 0;
  }
}

cl_int wgpu_device_info(cl_device_id d, cl_uint key, size_t n, void* to, size_t* size) {
  const Limits& l = d->limits;
  switch (key) {
    case CL_DEVICE_NAME:
      return answer_text(d->name, n, to, size);
    case CL_DEVICE_VENDOR:
      return answer_text(d->vendor, n, to, size);
    case CL_DEVICE_VERSION:
      return answer_text("WebGPU 1.0", n, to, size);
    case CL_DRIVER_VERSION:
      return answer_text(d->driver, n, to, size);
    case CL_DEVICE_EXTENSIONS:
      return answer_text(d->fp16 ? "cl_khr_fp16" : "", n, to, size);
    case CL_DEVICE_TYPE:
      return answer_number<cl_bitfield>(device_type(*d), n, to, size);
    case CL_DEVICE_HOST_UNIFIED_MEMORY:
      return answer_number<cl_bool>(d->kind == kIntegratedGpu || d->kind == kCpu, n, to, size);
    case CL_DEVICE_MAX_COMPUTE_UNITS:  // WebGPU does not tell that of GPUs
      return answer_number<cl_uint>(d->kind == kCpu ? std::thread::hardware_concurrency() : 1, n, to, size);
    case CL_DEVICE_MAX_WORK_GROUP_SIZE:
      return answer_number<size_t>(l.max_workgroup_invocations, n, to, size);
    case CL_DEVICE_MAX_WORK_ITEM_SIZES: {
      const size_t items[3] = {l.max_workgroup_x, l.max_workgroup_y, l.max_workgroup_z};
      return answer(items, sizeof items, n, to, size);
    }
    case CL_DEVICE_LOCAL_MEM_SIZE:
      return answer_number<cl_ulong>(l.max_workgroup_bytes, n, to, size);
    case CL_DEVICE_GLOBAL_MEM_SIZE:
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
      return answer_number<cl_ulong>(l.max_buffer_bytes, n, to, size);
    case CL_DEVICE_MEM_BASE_ADDR_ALIGN:
      return answer_number<cl_uint>(l.min_storage_alignment * 8, n, to, size);
    case COEXEC_DEVICE_MAX_BUFFERS:
      return answer_number<cl_uint>(l.max_storage_buffers, n, to, size);
    case COEXEC_DEVICE_MAX_BINDING:
      return answer_number<cl_ulong>(l.max_storage_binding_bytes, n, to, size);
    case COEXEC_DEVICE_SUBGROUP:
      return answer_number<cl_uint>(std::max<cl_uint>(1, d->subgroup), n, to, size);
    default:
      return kRejected;
  }
}

cl_context wgpu_create_context(const intptr_t*, cl_uint, const cl_device_id* devices,
                               void (*)(const char*, const void*, size_t, void*), void*, cl_int* code) {
  auto* context = new _cl_context();
  context->adapter = devices[0];
  *code = context->gpu() ? static_cast<cl_int>(CL_SUCCESS) : static_cast<cl_int>(kLost);
  return context;
}

cl_command_queue wgpu_create_queue(cl_context context, cl_device_id, cl_bitfield flags, cl_int* code) {
  *code = CL_SUCCESS;
  return new _cl_command_queue{context, (flags & CL_QUEUE_PROFILING_ENABLE) != 0};
}

cl_int wgpu_release_queue(cl_command_queue queue) {
  delete queue;
  return CL_SUCCESS;
}

cl_int wgpu_finish(cl_command_queue queue) {
  if (const GpuPtr gpu = queue->context->gpu()) {
    gpu->wait_for_all();
  }
  return CL_SUCCESS;
}

cl_int wgpu_flush(cl_command_queue) {
  return CL_SUCCESS;  // launches are submitted at once, and writes with the next command or wait
}

cl_int wgpu_marker(cl_command_queue queue, cl_uint, const cl_event*, cl_event* event) {
  const GpuPtr gpu = queue->context->gpu();
  if (!gpu) {
    return kLost;
  }
  if (event) {
    *event = make_event(gpu);
    (*event)->ticket = gpu->submit(wgpu().DeviceCreateCommandEncoder(gpu->device(), nullptr));
  }
  return CL_SUCCESS;
}

void* wgpu_map_buffer(cl_command_queue, cl_mem, cl_bool, cl_bitfield, size_t, size_t, cl_uint, const cl_event*,
                      cl_event*, cl_int* code) {
  *code = kRejected;  // the only memory mode is that without mappings
  return nullptr;
}

cl_int wgpu_unmap(cl_command_queue, cl_mem, void*, cl_uint, const cl_event*, cl_event*) {
  return kRejected;
}

cl_int wgpu_wait(cl_uint n, const cl_event* list) {
  set_error_detail(0, "");
  cl_int code = CL_SUCCESS;
  for (cl_uint i = 0; i < n; ++i) {
    list[i]->gpu->wait(list[i]->ticket);
    if (!list[i]->finish()) {
      code = list[i]->error;
    }
  }
  return code;
}

cl_int wgpu_event_info(cl_event e, cl_uint, size_t n, void* to, size_t* size) {
  cl_int status = CL_RUNNING;
  if (e->gpu->has_ended(e->ticket)) {
    status = e->finish() ? static_cast<cl_int>(CL_COMPLETE) : e->error.load();
  }
  return answer_number(status, n, to, size);
}

cl_int wgpu_event_times(cl_event e, cl_uint key, size_t n, void* to, size_t* size) {
  e->gpu->wait(e->ticket);
  if (!e->finish()) {
    return e->error;
  }
  const bool end = key == CL_PROFILING_COMMAND_END;
  const double ns = e->timed ? static_cast<double>(e->ticks[end]) * e->gpu->tick_ns() : 0;
  return answer_number<cl_ulong>(
      e->timed ? static_cast<cl_ulong>(ns) : static_cast<cl_ulong>(end ? e->end_ns.load() : e->queued_ns), n, to, size);
}

cl_int wgpu_release_event(cl_event e) {
  if (e->times) {  // they may still be under way to the event's memory
    std::lock_guard<std::mutex> lock(e->times->mu);
    e->times->to = nullptr;
  }
  delete e;
  return CL_SUCCESS;
}

}  // namespace

int64_t host_clock_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t{t.tv_sec} * 1000000000 + t.tv_nsec;
}

cl_event make_event(const GpuPtr& gpu) {
  auto* event = new _cl_event();
  event->gpu = gpu;
  event->queued_ns = host_clock_ns();
  return event;
}

void put_event_functions(ClApi* api) {
  api->EnqueueMarkerWithWaitList = wgpu_marker;
  api->EnqueueBarrierWithWaitList = wgpu_marker;
  api->WaitForEvents = wgpu_wait;
  api->GetEventInfo = wgpu_event_info;
  api->GetEventProfilingInfo = wgpu_event_times;
  api->ReleaseEvent = wgpu_release_event;
  api->Flush = wgpu_flush;
  api->Finish = wgpu_finish;
}

CommandTimer::CommandTimer(Gpu& gpu, bool on) : gpu_(gpu) {
  if (!on || !gpu.has_timestamps()) {
    return;
  }
  const QuerySetDescriptor descriptor{nullptr, {}, kQueryTimestamp, 2};
  set_ = wgpu().DeviceCreateQuerySet(gpu.device(), &descriptor);
  const BufferDescriptor buffer{nullptr, {}, kUsageQueryResolve | kUsageCopySource, 256, 0};
  resolved_ = wgpu().DeviceCreateBuffer(gpu.device(), &buffer);
  writes_ = {nullptr, set_, 0, 1};
}

CommandTimer::~CommandTimer() {
  if (set_) {
    wgpu().QuerySetRelease(set_);
    wgpu().BufferRelease(resolved_);
  }
}

void CommandTimer::mark(Encoder encoder, bool end) {
  if (!set_) {
    return;
  }
  constexpr uint32_t kNone = static_cast<uint32_t>(-1);
  const TimestampWrites one{nullptr, set_, end ? 1u : 0u, kNone};
  const PassDescriptor descriptor{nullptr, {}, &one};
  const Pass pass = wgpu().CommandEncoderBeginComputePass(encoder, &descriptor);
  wgpu().ComputePassEncoderEnd(pass);
  wgpu().ComputePassEncoderRelease(pass);
}

void CommandTimer::resolve(Encoder encoder, cl_event event) {
  if (!set_) {
    return;
  }
  wgpu().CommandEncoderResolveQuerySet(encoder, set_, 0, 2, resolved_, 0);
  event->times = gpu_.read_back(encoder, resolved_, 0, sizeof event->ticks);
  event->times->to = event->ticks;
  event->timed = true;
}

}  // namespace wg

std::string make_wgpu_driver(ClApi* api) {
  if (!wg::why_no_wgpu().empty()) {
    return wg::why_no_wgpu();
  }
  process_of_driver() = getpid();
  if (wg::wgpu_adapters().empty()) {
    return "wgpu-native finds no Vulkan device: install your GPU's Vulkan driver (Debian: libvulkan1 and "
           "mesa-vulkan-drivers, which has a device on the CPU)";
  }
  api->GetPlatformIDs = wg::wgpu_platforms;
  api->GetPlatformInfo = wg::wgpu_platform_info;
  api->GetDeviceIDs = wg::wgpu_devices;
  api->GetDeviceInfo = wg::wgpu_device_info;
  api->CreateContext = wg::wgpu_create_context;
  api->CreateCommandQueue = wg::wgpu_create_queue;
  api->ReleaseCommandQueue = wg::wgpu_release_queue;
  api->EnqueueMapBuffer = wg::wgpu_map_buffer;
  api->EnqueueUnmapMemObject = wg::wgpu_unmap;
  wg::put_memory_functions(api);
  wg::put_kernel_functions(api);
  wg::put_launch_functions(api);
  wg::put_event_functions(api);
  return "";
}

std::string check_wgsl(const std::string& source) {
  const ClApi& api = driver(Api::kVulkan);
  if (is_forked()) {
    return "";
  }
  static const cl_context context = [&] {
    cl_int code = CL_SUCCESS;
    cl_device_id device = wg::wgpu_adapters().at(0);
    return api.CreateContext(nullptr, 1, &device, nullptr, nullptr, &code);
  }();
  const char* text = source.c_str();
  const size_t length = source.size();
  cl_int code = CL_SUCCESS;
  cl_program program = api.CreateProgramWithSource(context, 1, &text, &length, &code);
  const bool built = api.BuildProgram(program, 1, nullptr, "", nullptr, nullptr) == CL_SUCCESS;
  const std::string log = built ? "" : program->log;
  api.ReleaseProgram(program);
  return log;
}

}  // namespace coexec
