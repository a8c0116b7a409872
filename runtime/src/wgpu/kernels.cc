// Programs and kernels.
#include <algorithm>
#include <cstring>

#include "../cl/cl_error.h"
#include "driver.h"
#include "objects.h"

namespace coexec {
namespace wg {
namespace {

constexpr Flags kNoChecks = 0;  // TVM's kernels stay within their buffers, and their loops end

struct OwnedModule {
  ShaderModule handle = nullptr;
  ~OwnedModule() {
    if (handle) {
      wgpu().ShaderModuleRelease(handle);
    }
  }
};

ShaderModule create_module(const Gpu& gpu, const std::string& source) {
  ShaderSource code{};
  code.chain.type = kTypeShaderSourceWgsl;
  code.code = {source.data(), source.size()};
  Labelled descriptor;
  descriptor.next = &code.chain;
  return wgpu().DeviceCreateShaderModuleTrusted(gpu.device(), &descriptor, kNoChecks);
}

cl_program wgpu_create_program(cl_context context, cl_uint, const char** text, const size_t* lengths, cl_int* code) {
  auto* program = new _cl_program();
  program->context = context;
  program->source.assign(text[0], lengths[0]);
  *code = CL_SUCCESS;
  return program;
}

cl_program wgpu_create_from_binary(cl_context, cl_uint, const cl_device_id*, const size_t*, const unsigned char**,
                                   cl_int*, cl_int* code) {
  *code = kRejected;
  return nullptr;
}

cl_int wgpu_build(cl_program program, cl_uint, const cl_device_id*, const char*, void (*)(cl_program, void*), void*) {
  Attempt attempt;
  const GpuPtr gpu = program->context->gpu();
  if (!gpu) {
    return kLost;
  }
  const OwnedModule module{create_module(*gpu, program->source)};
  if (attempt.failed()) {
    program->log = attempt.text();
    return attempt.code(kBuildFailed) == kOutOfMemory ? kOutOfMemory : kBuildFailed;
  }
  std::string why;
  program->interface = {};
  if (!read_interface(program->source, &program->interface, &why)) {
    program->log = "the shader is not as TVM's generator writes them: " + why;
    return kBuildFailed;
  }
  return CL_SUCCESS;
}

cl_int wgpu_build_info(cl_program program, cl_device_id, cl_uint, size_t n, void* to, size_t* size) {
  if (size) {
    *size = program->log.size() + 1;
  }
  if (to && n > program->log.size()) {
    std::memcpy(to, program->log.c_str(), program->log.size() + 1);
  }
  return CL_SUCCESS;
}

cl_int wgpu_program_info(cl_program, cl_uint, size_t, void*, size_t*) {
  return kRejected;  // no binaries
}

cl_int wgpu_release_program(cl_program program) {
  delete program;
  return CL_SUCCESS;
}

BindGroupLayout create_layout(const Gpu& gpu, const WgslInterface& interface, bool all_writable) {
  std::vector<LayoutEntry> entries(interface.writes.size() + 1);
  for (size_t i = 0; i < entries.size(); ++i) {
    entries[i].binding = static_cast<uint32_t>(i);
    entries[i].visibility = kStageCompute;
    entries[i].buffer.type = i == interface.writes.size()          ? kBindUniform
                             : all_writable || interface.writes[i] ? kBindStorage
                                                                   : kBindReadOnlyStorage;
  }
  const GroupLayoutDescriptor descriptor{nullptr, {}, entries.size(), entries.data()};
  return wgpu().DeviceCreateBindGroupLayout(gpu.device(), &descriptor);
}

}  // namespace

const _cl_kernel::Built* pipeline_of(cl_kernel k, const GpuPtr& gpu, bool all_writable) {
  if (k->gpu != gpu) {
    k->release_all();
    k->gpu = gpu;
  }
  _cl_kernel::Built& b = k->built[all_writable];
  if (b.pipeline) {
    return &b;
  }
  const Attempt attempt;
  const OwnedModule module{create_module(*gpu, all_writable ? with_writable_buffers(k->source) : k->source)};
  const BindGroupLayout layout = create_layout(*gpu, k->interface, all_writable);
  const PipelineLayoutDescriptor arguments{nullptr, {}, 1, &layout, 0};
  const PipelineLayout pipeline_layout = wgpu().DeviceCreatePipelineLayout(gpu->device(), &arguments);
  PipelineDescriptor descriptor{};
  descriptor.layout = pipeline_layout;
  descriptor.compute.module = module.handle;
  descriptor.compute.entry = {k->name.data(), k->name.size()};
  const Pipeline pipeline = wgpu().DeviceCreateComputePipeline(gpu->device(), &descriptor);
  wgpu().PipelineLayoutRelease(pipeline_layout);
  if (attempt.failed()) {
    attempt.code(kBuildFailed);
    if (pipeline) {
      wgpu().ComputePipelineRelease(pipeline);
    }
    wgpu().BindGroupLayoutRelease(layout);
    return nullptr;
  }
  b = {pipeline, layout};
  return &b;
}

namespace {

cl_kernel wgpu_create_kernel(cl_program program, const char* name, cl_int* code) {
  const GpuPtr gpu = program->context->gpu();
  if (!gpu) {
    *code = kLost;
    return nullptr;
  }
  auto k = std::make_unique<_cl_kernel>();
  k->context = program->context;
  k->name = name;
  k->source = program->source;
  k->interface = program->interface;
  k->arguments.resize(k->interface.writes.size() + k->interface.n_scalars);
  const Limits& limits = gpu->limits();
  if (k->interface.writes.size() > limits.max_storage_buffers) {
    *code = kRejected;
    set_error_detail(*code, "it takes " + std::to_string(k->interface.writes.size()) +
                                " buffers, and the device at most " + std::to_string(limits.max_storage_buffers));
    return nullptr;
  }
  if (!pipeline_of(k.get(), gpu, false)) {
    *code = kBuildFailed;
    return nullptr;
  }
  *code = CL_SUCCESS;
  std::lock_guard<std::mutex> lock(k->context->mu);
  k->context->kernels.insert(k.get());
  return k.release();
}

cl_int wgpu_release_kernel(cl_kernel k) {
  {
    std::lock_guard<std::mutex> lock(k->context->mu);
    k->context->kernels.erase(k);
  }
  k->release_all();
  delete k;
  return CL_SUCCESS;
}

// Scalars have four bytes, buffers a handle; null stands for an array without memory.
cl_int wgpu_set_argument(cl_kernel k, cl_uint index, size_t bytes, const void* value) {
  if (index >= k->arguments.size()) {
    set_error_detail(kRejected, "the shader has " + std::to_string(k->arguments.size()) + " arguments");
    return kRejected;
  }
  _cl_kernel::Argument& a = k->arguments[index];
  a = {};
  a.is_set = true;
  if (bytes == sizeof(uint32_t)) {
    std::memcpy(&a.scalar, value, bytes);
  } else if (bytes == sizeof(cl_mem)) {
    a.is_buffer = true;
    a.mem = value ? *static_cast<const cl_mem*>(value) : nullptr;
  } else {
    set_error_detail(kRejected, "WGSL has no scalars of " + std::to_string(bytes) + " bytes");
    return kRejected;
  }
  return CL_SUCCESS;
}

cl_int wgpu_kernel_info(cl_kernel k, cl_device_id, cl_uint, size_t n, void* to, size_t*) {
  const size_t limit = k->gpu->limits().max_workgroup_invocations;
  std::memcpy(to, &limit, std::min(n, sizeof limit));
  return CL_SUCCESS;
}

}  // namespace

void put_kernel_functions(ClApi* api) {
  api->CreateProgramWithSource = wgpu_create_program;
  api->CreateProgramWithBinary = wgpu_create_from_binary;
  api->BuildProgram = wgpu_build;
  api->GetProgramBuildInfo = wgpu_build_info;
  api->GetProgramInfo = wgpu_program_info;
  api->ReleaseProgram = wgpu_release_program;
  api->CreateKernel = wgpu_create_kernel;
  api->ReleaseKernel = wgpu_release_kernel;
  api->SetKernelArg = wgpu_set_argument;
  api->GetKernelWorkGroupInfo = wgpu_kernel_info;
}

}  // namespace wg

void _cl_kernel::release_groups() {
  for (const auto& entry : groups) {
    wg::wgpu().BindGroupRelease(entry.second.handle);
    wg::wgpu().BufferRelease(entry.second.scalars);
  }
  groups.clear();
}

void _cl_kernel::release_all() {
  release_groups();
  for (Built& b : built) {
    if (b.pipeline) {
      wg::wgpu().ComputePipelineRelease(b.pipeline);
      wg::wgpu().BindGroupLayoutRelease(b.layout);
    }
    b = {};
  }
}

}  // namespace coexec
