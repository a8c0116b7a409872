// The used subset of WebGPU's C API as wgpu-native 29 has it (webgpu.h, wgpu.h), declared here so that the build needs
// no headers, and a table of its functions that is filled with dlopen. Structures change between major versions, so
// only this one is accepted.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace coexec {
namespace wg {

constexpr uint32_t kMajorVersion = 29;

using Instance = struct InstanceImpl*;
using Adapter = struct AdapterImpl*;
using Device = struct DeviceImpl*;
using GpuQueue = struct QueueImpl*;
using Buffer = struct BufferImpl*;
using ShaderModule = struct ShaderModuleImpl*;
using BindGroupLayout = struct BindGroupLayoutImpl*;
using BindGroup = struct BindGroupImpl*;
using PipelineLayout = struct PipelineLayoutImpl*;
using Pipeline = struct PipelineImpl*;
using Encoder = struct EncoderImpl*;
using Pass = struct PassImpl*;
using CommandBuffer = struct CommandBufferImpl*;
using QuerySet = struct QuerySetImpl*;

using Bool = uint32_t;
using Flags = uint64_t;

constexpr size_t kStringEnd = static_cast<size_t>(-1);

struct StringView {
  const char* data = nullptr;
  size_t length = kStringEnd;
};
inline std::string text_of(StringView s) {
  return !s.data ? "" : s.length == kStringEnd ? std::string(s.data) : std::string(s.data, s.length);
}

struct Chained {
  Chained* next = nullptr;
  uint32_t type = 0;
};
enum : uint32_t { kTypeShaderSourceWgsl = 2, kTypeInstanceExtras = 0x00030004 };

struct Future {
  uint64_t id;
};

enum : uint32_t { kAllowProcessEvents = 2, kAllowSpontaneous = 3 };  // callback modes
enum : uint32_t { kSuccess = 1 };                                    // of all kinds of status
enum : uint32_t { kErrorOutOfMemory = 3 };                           // kinds of errors
enum : uint32_t { kDiscreteGpu = 1, kIntegratedGpu = 2, kCpu = 3 };  // kinds of adapters
enum : uint32_t { kFeatureTimestampQuery = 0x09, kFeatureShaderF16 = 0x0B };
enum : uint32_t { kBindUniform = 2, kBindStorage = 3, kBindReadOnlyStorage = 4 };
enum : uint32_t { kQueryTimestamp = 2 };
enum : Flags {
  kUsageMapRead = 0x001,
  kUsageCopySource = 0x004,
  kUsageCopyDestination = 0x008,
  kUsageUniform = 0x040,
  kUsageStorage = 0x080,
  kUsageQueryResolve = 0x200,
};
enum : Flags { kMapRead = 1, kStageCompute = 4, kBackendVulkan = 1, kInstanceDefault = 1 << 24 };
constexpr uint64_t kWholeSize = static_cast<uint64_t>(-1);

struct Limits {
  Chained* next;
  uint32_t max_texture_1d, max_texture_2d, max_texture_3d, max_texture_layers;
  uint32_t max_bind_groups, max_bind_groups_and_vertex_buffers, max_bindings_per_group;
  uint32_t max_dynamic_uniforms, max_dynamic_storages;
  uint32_t max_sampled_textures, max_samplers, max_storage_buffers, max_storage_textures, max_uniform_buffers;
  uint64_t max_uniform_binding_bytes, max_storage_binding_bytes;
  uint32_t min_uniform_alignment, min_storage_alignment;
  uint32_t max_vertex_buffers;
  uint64_t max_buffer_bytes;
  uint32_t max_vertex_attributes, max_vertex_stride, max_stage_variables;
  uint32_t max_color_attachments, max_color_attachment_bytes;
  uint32_t max_workgroup_bytes, max_workgroup_invocations;
  uint32_t max_workgroup_x, max_workgroup_y, max_workgroup_z, max_workgroups_per_dimension;
  uint32_t max_immediate_bytes;
};

struct AdapterInfo {
  Chained* next;
  StringView vendor, architecture, device, description;
  uint32_t backend, kind;
  uint32_t vendor_id, device_id, subgroup_min, subgroup_max;
};

struct InstanceDescriptor {
  Chained* next;
  size_t n_features;
  const uint32_t* features;
  const void* limits;
};

struct DisplayHandle {
  uint32_t kind;
  struct {
    void* a;
    void* b;
  } data;
};

struct InstanceExtras {
  Chained chain;
  Flags backends, flags;
  uint32_t dx12_compiler, gles3_version, gl_fence;
  StringView dxc_path;
  uint32_t dxc_model, dx12_presentation;
  const uint8_t* budget_for_creation;
  const uint8_t* budget_for_loss;
  DisplayHandle display;
};

struct EnumerateOptions {
  const Chained* next;
  Flags backends;
};

// All callbacks with a status have this form: a map, work that is done.
using DoneCallback = void (*)(uint32_t status, StringView message, void* a, void* b);
using DeviceCallback = void (*)(uint32_t status, Device device, StringView message, void* a, void* b);
using LostCallback = void (*)(const Device*, uint32_t reason, StringView message, void* a, void* b);
using ErrorCallback = void (*)(const Device*, uint32_t kind, StringView message, void* a, void* b);

template <class F>
struct Callback {
  Chained* next;
  uint32_t mode;
  F function;
  void* a;
  void* b;
};

struct UncapturedErrors {
  Chained* next;
  ErrorCallback function;
  void* a;
  void* b;
};

struct Labelled {
  Chained* next = nullptr;
  StringView label;
};

struct DeviceDescriptor {
  Chained* next;
  StringView label;
  size_t n_features;
  const uint32_t* features;
  const Limits* limits;
  Labelled queue;
  Callback<LostCallback> lost;
  UncapturedErrors errors;
};

struct BufferDescriptor {
  Chained* next;
  StringView label;
  Flags usage;
  uint64_t bytes;
  Bool mapped_at_creation;
};

struct ShaderSource {
  Chained chain;
  StringView code;
};

struct PipelineDescriptor {
  Chained* next;
  StringView label;
  PipelineLayout layout;
  struct {
    Chained* next;
    ShaderModule module;
    StringView entry;
    size_t n_constants;
    const void* constants;
  } compute;
};

struct LayoutEntry {
  Chained* next;
  uint32_t binding;
  Flags visibility;
  uint32_t array_size;
  struct {
    Chained* next;
    uint32_t type;
    Bool dynamic_offset;
    uint64_t min_bytes;
  } buffer;
  struct {
    Chained* next;
    uint32_t type;
  } sampler;
  struct {
    Chained* next;
    uint32_t sample_type, dimension;
    Bool multisampled;
  } texture;
  struct {
    Chained* next;
    uint32_t access, format, dimension;
  } storage_texture;
};

struct GroupLayoutDescriptor {
  Chained* next;
  StringView label;
  size_t n;
  const LayoutEntry* entries;
};

struct GroupEntry {
  Chained* next;
  uint32_t binding;
  Buffer buffer;
  uint64_t offset, bytes;
  void* sampler;
  void* texture;
};

struct GroupDescriptor {
  Chained* next;
  StringView label;
  BindGroupLayout layout;
  size_t n;
  const GroupEntry* entries;
};

struct PipelineLayoutDescriptor {
  Chained* next;
  StringView label;
  size_t n;
  const BindGroupLayout* groups;
  uint32_t immediate_bytes;
};

struct TimestampWrites {
  Chained* next;
  QuerySet set;
  uint32_t begin, end;
};

struct PassDescriptor {
  Chained* next;
  StringView label;
  const TimestampWrites* timestamps;
};

struct QuerySetDescriptor {
  Chained* next;
  StringView label;
  uint32_t kind, count;
};

// X(return type, name without "wgpu", arguments)
#define COEXEC_WGPU(X)                                                                               \
  X(uint32_t, GetVersion, ())                                                                        \
  X(void, SetLogLevel, (uint32_t))                                                                   \
  X(Instance, CreateInstance, (const InstanceDescriptor*))                                           \
  X(size_t, InstanceEnumerateAdapters, (Instance, const EnumerateOptions*, Adapter*))                \
  X(uint32_t, AdapterGetInfo, (Adapter, AdapterInfo*))                                               \
  X(void, AdapterInfoFreeMembers, (AdapterInfo))                                                     \
  X(uint32_t, AdapterGetLimits, (Adapter, Limits*))                                                  \
  X(Bool, AdapterHasFeature, (Adapter, uint32_t))                                                    \
  X(Future, AdapterRequestDevice, (Adapter, const DeviceDescriptor*, Callback<DeviceCallback>))      \
  X(GpuQueue, DeviceGetQueue, (Device))                                                              \
  X(Bool, DevicePoll, (Device, Bool, const uint64_t*))                                               \
  X(void, DeviceRelease, (Device))                                                                   \
  X(Buffer, DeviceCreateBuffer, (Device, const BufferDescriptor*))                                   \
  X(ShaderModule, DeviceCreateShaderModuleTrusted, (Device, const Labelled*, Flags))                 \
  X(BindGroupLayout, DeviceCreateBindGroupLayout, (Device, const GroupLayoutDescriptor*))            \
  X(PipelineLayout, DeviceCreatePipelineLayout, (Device, const PipelineLayoutDescriptor*))           \
  X(Pipeline, DeviceCreateComputePipeline, (Device, const PipelineDescriptor*))                      \
  X(BindGroup, DeviceCreateBindGroup, (Device, const GroupDescriptor*))                              \
  X(Encoder, DeviceCreateCommandEncoder, (Device, const Labelled*))                                  \
  X(QuerySet, DeviceCreateQuerySet, (Device, const QuerySetDescriptor*))                             \
  X(Pass, CommandEncoderBeginComputePass, (Encoder, const PassDescriptor*))                          \
  X(void, CommandEncoderCopyBufferToBuffer, (Encoder, Buffer, uint64_t, Buffer, uint64_t, uint64_t)) \
  X(void, CommandEncoderResolveQuerySet, (Encoder, QuerySet, uint32_t, uint32_t, Buffer, uint64_t))  \
  X(CommandBuffer, CommandEncoderFinish, (Encoder, const Labelled*))                                 \
  X(void, CommandEncoderRelease, (Encoder))                                                          \
  X(void, CommandBufferRelease, (CommandBuffer))                                                     \
  X(void, ComputePassEncoderSetPipeline, (Pass, Pipeline))                                           \
  X(void, ComputePassEncoderSetBindGroup, (Pass, uint32_t, BindGroup, size_t, const uint32_t*))      \
  X(void, ComputePassEncoderDispatchWorkgroups, (Pass, uint32_t, uint32_t, uint32_t))                \
  X(void, ComputePassEncoderEnd, (Pass))                                                             \
  X(void, ComputePassEncoderRelease, (Pass))                                                         \
  X(uint64_t, QueueSubmitForIndex, (GpuQueue, size_t, const CommandBuffer*))                         \
  X(void, QueueWriteBuffer, (GpuQueue, Buffer, uint64_t, const void*, size_t))                       \
  X(Future, QueueOnSubmittedWorkDone, (GpuQueue, Callback<DoneCallback>))                            \
  X(float, QueueGetTimestampPeriod, (GpuQueue))                                                      \
  X(void, QueueRelease, (GpuQueue))                                                                  \
  X(Future, BufferMapAsync, (Buffer, Flags, size_t, size_t, Callback<DoneCallback>))                 \
  X(const void*, BufferGetConstMappedRange, (Buffer, size_t, size_t))                                \
  X(void*, BufferGetMappedRange, (Buffer, size_t, size_t))                                           \
  X(void, BufferUnmap, (Buffer))                                                                     \
  X(void, BufferRelease, (Buffer))                                                                   \
  X(void, BindGroupRelease, (BindGroup))                                                             \
  X(void, BindGroupLayoutRelease, (BindGroupLayout))                                                 \
  X(void, PipelineLayoutRelease, (PipelineLayout))                                                   \
  X(void, ComputePipelineRelease, (Pipeline))                                                        \
  X(void, ShaderModuleRelease, (ShaderModule))                                                       \
  X(void, QuerySetRelease, (QuerySet))

struct WgpuApi {
#define COEXEC_WGPU_MEMBER(ret, name, args) ret(*name) args = nullptr;
  COEXEC_WGPU(COEXEC_WGPU_MEMBER)
#undef COEXEC_WGPU_MEMBER
};

// Opens the library at the first call. Returns why there is none, or "".
const std::string& why_no_wgpu();
// The table; valid once why_no_wgpu() has returned "".
const WgpuApi& wgpu();

}  // namespace wg
}  // namespace coexec
