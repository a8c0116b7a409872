// Launches: arguments become bind groups, which are kept for the next launch with the same ones.
#include <algorithm>
#include <cstring>

#include "../cl/cl_error.h"
#include "objects.h"

namespace coexec {
namespace wg {
namespace {

constexpr size_t kMaxGroups = 64;  // by kernel: arguments that it was launched with

// What a launch needs of the arguments.
struct Launch {
  std::vector<cl_mem> buffers;
  std::vector<uint32_t> scalars;  // and the last work-group
  bool all_writable = false;
  GpuPtr gpu;
};

bool collect(cl_kernel k, uint32_t groups_x, Launch* launch) {
  for (const _cl_kernel::Argument& a : k->arguments) {
    if (!a.is_set) {
      set_error_detail(kRejected, "an argument is not set");
      return false;
    }
    if (a.is_buffer) {
      launch->buffers.push_back(a.mem);
    } else {
      launch->scalars.push_back(a.scalar);
    }
  }
  if (launch->buffers.size() != k->interface.writes.size()) {
    set_error_detail(kRejected, "the shader has " + std::to_string(k->interface.writes.size()) + " buffers, and " +
                                    std::to_string(launch->buffers.size()) + " were passed");
    return false;
  }
  launch->scalars.push_back(groups_x - 1);
  for (size_t i = 0; i < launch->buffers.size(); ++i) {
    const cl_mem a = launch->buffers[i];
    if (!a) {
      continue;
    }
    if (a->gpu->is_lost() || (launch->gpu && launch->gpu != a->gpu)) {
      const Gpu& gone = a->gpu->is_lost() ? *a->gpu : *launch->gpu;
      set_error_detail(kLost, "its memory was lost with the device (" + gone.why_lost() + "): load the module again");
      return false;
    }
    launch->gpu = a->gpu;
    for (size_t j = 0; j < i; ++j) {
      const cl_mem b = launch->buffers[j];
      launch->all_writable |= b && a->buffer == b->buffer && k->interface.writes[i] != k->interface.writes[j];
    }
  }
  return true;
}

Buffer create_scalars(const Gpu& gpu, const std::vector<uint32_t>& scalars) {
  const size_t bytes = scalars.size() * sizeof(uint32_t), padded = (bytes + 15) / 16 * 16;
  const BufferDescriptor descriptor{nullptr, {}, kUsageUniform, padded, 1};
  const Buffer buffer = wgpu().DeviceCreateBuffer(gpu.device(), &descriptor);
  if (void* to = wgpu().BufferGetMappedRange(buffer, 0, padded)) {
    std::memcpy(to, scalars.data(), bytes);
  }
  wgpu().BufferUnmap(buffer);
  return buffer;
}

// Four bytes for arguments without memory.
Buffer empty_buffer(const Gpu& gpu) {
  const BufferDescriptor descriptor{nullptr, {}, kUsageStorage, 16, 0};
  return wgpu().DeviceCreateBuffer(gpu.device(), &descriptor);
}

BindGroup group_of(cl_kernel k, const _cl_kernel::Built& built, const Launch& launch) {
  std::vector<uint64_t> key(launch.scalars.begin(), launch.scalars.end());
  key.push_back(launch.all_writable);
  for (const cl_mem m : launch.buffers) {
    key.push_back(m ? m->number : 0);
    key.push_back(m ? m->offset : 0);
  }
  const auto found = k->groups.find(key);
  if (found != k->groups.end()) {
    return found->second.handle;
  }
  if (k->groups.size() >= kMaxGroups) {
    k->release_groups();
  }
  const Gpu& gpu = *launch.gpu;
  _cl_kernel::Group group;
  group.scalars = create_scalars(gpu, launch.scalars);
  Buffer nothing = nullptr;
  std::vector<GroupEntry> entries(launch.buffers.size() + 1);
  for (size_t i = 0; i < entries.size(); ++i) {
    entries[i].binding = static_cast<uint32_t>(i);
    entries[i].bytes = kWholeSize;
    if (i == launch.buffers.size()) {
      entries[i].buffer = group.scalars;
    } else if (const cl_mem m = launch.buffers[i]) {
      entries[i].buffer = m->buffer;
      entries[i].offset = m->offset;
      entries[i].bytes = std::min<uint64_t>(m->padded - m->offset, gpu.limits().max_storage_binding_bytes / 4 * 4);
      group.buffers.push_back(m->number);
    } else {
      nothing = nothing ? nothing : empty_buffer(gpu);
      entries[i].buffer = nothing;
    }
  }
  const GroupDescriptor descriptor{nullptr, {}, built.layout, entries.size(), entries.data()};
  group.handle = wgpu().DeviceCreateBindGroup(gpu.device(), &descriptor);
  if (nothing) {
    wgpu().BufferRelease(nothing);
  }
  return k->groups.emplace(std::move(key), std::move(group)).first->second.handle;
}

// The generated shaders take work-groups beyond the limit of x from z, and have theirs of z in y.
bool spread(const size_t* groups, uint32_t limit, uint32_t* out) {
  size_t x = groups[0], z = 1;
  while (x > limit) {
    x = (x + 1) / 2;
    z *= 2;
  }
  const size_t y = groups[1] * groups[2];
  if (y > limit || z > limit) {
    return false;
  }
  out[0] = static_cast<uint32_t>(x);
  out[1] = static_cast<uint32_t>(y);
  out[2] = static_cast<uint32_t>(z);
  return true;
}

std::string triple(const uint32_t* v) {
  return "(" + std::to_string(v[0]) + ", " + std::to_string(v[1]) + ", " + std::to_string(v[2]) + ")";
}

cl_int wgpu_launch(cl_command_queue queue, cl_kernel k, cl_uint dims, const size_t*, const size_t* global,
                   const size_t* local, cl_uint, const cl_event*, cl_event* event) {
  Attempt attempt;
  size_t groups[3] = {1, 1, 1};
  uint32_t given[3] = {1, 1, 1};
  for (cl_uint i = 0; i < dims; ++i) {
    groups[i] = global[i] / local[i];
    given[i] = static_cast<uint32_t>(local[i]);
  }
  if (!std::equal(given, given + 3, k->interface.workgroup)) {
    set_error_detail(kRejected, "the shader has the work-group " + triple(k->interface.workgroup));
    return kRejected;
  }
  std::lock_guard<std::mutex> lock(k->mu);
  Launch launch;
  if (!collect(k, static_cast<uint32_t>(groups[0]), &launch)) {
    return launch.gpu && launch.gpu->is_lost() ? kLost : error_detail_code();
  }
  if (!launch.gpu && !(launch.gpu = k->context->gpu())) {
    return kLost;
  }
  uint32_t counts[3];
  if (!spread(groups, launch.gpu->limits().max_workgroups_per_dimension, counts)) {
    set_error_detail(kRejected, "the device takes at most " +
                                    std::to_string(launch.gpu->limits().max_workgroups_per_dimension) +
                                    " work-groups in a dimension");
    return kRejected;
  }
  const _cl_kernel::Built* built = pipeline_of(k, launch.gpu, launch.all_writable);
  if (!built) {
    return kBuildFailed;
  }
  const BindGroup group = group_of(k, *built, launch);
  Gpu& gpu = *launch.gpu;
  std::unique_ptr<_cl_event> made(make_event(launch.gpu));
  CommandTimer timer(gpu, queue->profiling);
  const Encoder encoder = wgpu().DeviceCreateCommandEncoder(gpu.device(), nullptr);
  const PassDescriptor descriptor{nullptr, {}, timer.writes()};
  const Pass pass = wgpu().CommandEncoderBeginComputePass(encoder, &descriptor);
  wgpu().ComputePassEncoderSetPipeline(pass, built->pipeline);
  wgpu().ComputePassEncoderSetBindGroup(pass, 0, group, 0, nullptr);
  wgpu().ComputePassEncoderDispatchWorkgroups(pass, counts[0], counts[1], counts[2]);
  wgpu().ComputePassEncoderEnd(pass);
  wgpu().ComputePassEncoderRelease(pass);
  timer.resolve(encoder, made.get());
  made->ticket = gpu.submit(encoder);
  if (made->times) {
    gpu.map(made->times, made->ticket);
  }
  if (const cl_int code = attempt.code()) {
    return code;
  }
  *event = made.release();
  return CL_SUCCESS;
}

}  // namespace

void forget_groups(cl_mem mem) {
  std::lock_guard<std::mutex> lock(mem->context->mu);
  for (const cl_kernel k : mem->context->kernels) {
    std::lock_guard<std::mutex> own(k->mu);
    for (auto it = k->groups.begin(); it != k->groups.end();) {
      const std::vector<uint64_t>& used = it->second.buffers;
      if (std::find(used.begin(), used.end(), mem->number) == used.end()) {
        ++it;
        continue;
      }
      wgpu().BindGroupRelease(it->second.handle);
      wgpu().BufferRelease(it->second.scalars);
      it = k->groups.erase(it);
    }
  }
}

void put_launch_functions(ClApi* api) {
  api->EnqueueNDRangeKernel = wgpu_launch;
}

}  // namespace wg
}  // namespace coexec
