#include "kernel.h"

#include <algorithm>

#include "../cl/cl_error.h"
#include "../wgpu/wgsl.h"
#include "kernel_source.h"
#include "program_cache.h"
#include "stats.h"
#include "trace.h"

namespace coexec {
namespace {

int grid_index(const std::string& tag) {
  static const char* const tags[] = {"blockIdx.x",  "blockIdx.y",  "blockIdx.z",
                                     "threadIdx.x", "threadIdx.y", "threadIdx.z"};
  for (int i = 0; i < 6; ++i) {
    if (tag == tags[i]) {
      return i;
    }
  }
  return -1;
}

thread_local const ArgumentSizes::Known* t_known = nullptr;

// Which arguments a shader writes: its buffers are declared in their order.
std::vector<Access> wgsl_access(const std::string& source, const FunctionInfo& info) {
  wg::WgslInterface interface;
  std::string why;
  if (!wg::read_interface(source, &interface, &why)) {
    interface.writes.clear();
  }
  std::vector<Access> access;
  size_t buffer = 0;
  for (const DType& type : info.arg_types) {
    const bool only_read =
        type.code == DTypeCode::kHandle && buffer < interface.writes.size() && !interface.writes[buffer];
    buffer += type.code == DTypeCode::kHandle;
    access.push_back(only_read ? Access::kRead : Access::kWrite);
  }
  return access;
}

std::string sizes(const size_t* v) {
  return "(" + std::to_string(v[0]) + ", " + std::to_string(v[1]) + ", " + std::to_string(v[2]) + ")";
}

}  // namespace

ArgumentSizes::ArgumentSizes(const Known& known) : before_(t_known) {
  t_known = &known;
}

ArgumentSizes::~ArgumentSizes() {
  t_known = before_;
}

size_t ArgumentSizes::of(const void* address) {
  size_t bytes = kToEnd;
  static const Known nothing;
  for (const auto& tensor : t_known ? *t_known : nothing) {
    if (tensor.first == address) {  // a tensor without elements may share its address with another one
      bytes = bytes == kToEnd ? tensor.second : std::max(bytes, tensor.second);
    }
  }
  return bytes;
}

Kernel::Kernel(const std::string& n, const FunctionInfo& i, std::string source, Api a)
    : name(n),
      info(i),
      api(a),
      source_(a == Api::kOpenCL ? replace_bool_parameters(source) : std::move(source)),
      label_(std::make_shared<const std::string>("kernel '" + n + "'")),
      shared_name_(std::make_shared<const std::string>(n)) {
  for (const std::string& tag : info.launch_tags) {
    const int index = grid_index(tag);
    if (index < 0) {
      throw Error(*label_ + " has the launch tag '" + tag + "', which this " + api_title(api) +
                  " runtime does not support");
    }
    grid_index_.push_back(index);
    dimensions_ = std::max<cl_uint>(dimensions_, static_cast<cl_uint>(index % 3 + 1));
  }
}

Kernel::~Kernel() {
  for (auto& entry : built_) {
    if (entry.second->kernel) {
      const ClApi& driver = device_in_slot(entry.first).driver();
      driver.ReleaseKernel(entry.second->kernel);
      driver.ReleaseProgram(entry.second->program);
    }
  }
}

Kernel::Built& Kernel::build_on(Device& device) {
  std::lock_guard<std::mutex> lock(mu_);
  std::unique_ptr<Built>& b = built_[device.slot];
  if (!b) {
    b = std::make_unique<Built>();
  }
  if (!b->kernel) {
    cl_program program = build_program(device, name, source_);
    cl_int code = CL_SUCCESS;
    cl_kernel kernel = device.driver().CreateKernel(program, name.c_str(), &code);
    if (code != CL_SUCCESS) {
      device.driver().ReleaseProgram(program);
      raise(code, "creating " + *label_ + " on " + device.text());
    }
    if (access_.empty()) {
      access_ = api == Api::kOpenCL ? parameter_access(source_, name, n_args()) : wgsl_access(source_, info);
    }
    b->program = program;
    b->kernel = kernel;
  }
  return *b;
}

std::vector<RegionPtr> Kernel::find_regions(const Argument* args) const {
  std::vector<RegionPtr> regions(n_args());
  const RegionPtr* first = nullptr;
  for (size_t i = 0; i < n_args(); ++i) {
    if (info.arg_types[i].code != DTypeCode::kHandle || !args[i].address) {
      continue;
    }
    regions[i] = find_region(args[i].address);
    if (!regions[i] || regions[i]->device.api() != api) {
      throw Error("argument " + std::to_string(i) + " of " + *label_ + " is not memory of " +
                  (api == Api::kOpenCL ? "an OpenCL" : "a Vulkan") + " device: copy the array there first");
    }
    if (first && &(*first)->device != &regions[i]->device) {
      throw Error("the arguments of " + *label_ + " are on " + (*first)->device.text() + " and on " +
                  regions[i]->device.text() + ": copy them to one device first");
    }
    first = first ? first : &regions[i];
  }
  return regions;
}

void Kernel::set_arguments(const ClApi& driver, cl_kernel kernel, const Argument* args,
                           const std::vector<RegionPtr>& regions) {
  for (size_t i = 0; i < n_args(); ++i) {
    const cl_uint index = static_cast<cl_uint>(i);
    cl_int code = CL_SUCCESS;
    if (info.arg_types[i].code != DTypeCode::kHandle) {
      const Scalar s = pack_scalar(info.arg_types[i], args[i].is_float, args[i].i, args[i].f);
      if (s.size == 0) {
        throw Error("argument " + std::to_string(i) + " of " + *label_ + " has a type that " + api_title(api) +
                    " kernels can't take (code " + std::to_string(static_cast<int>(info.arg_types[i].code)) + ", " +
                    std::to_string(info.arg_types[i].bits) + " bits, " + std::to_string(info.arg_types[i].lanes) +
                    " lanes)");
      }
      code = driver.SetKernelArg(kernel, index, s.size, s.bytes);
    } else if (!regions[i]) {
      code = driver.SetKernelArg(kernel, index, sizeof(cl_mem), nullptr);
    } else if (regions[i]->mem) {
      const cl_mem mem = regions[i]->mem_at(regions[i]->offset(args[i].address));
      code = driver.SetKernelArg(kernel, index, sizeof mem, &mem);
    } else {
      code = driver.SetKernelArgSVMPointer(kernel, index, args[i].address);
    }
    check(code, [&] { return "setting argument " + std::to_string(i) + " of " + *label_; });
  }
}

void Kernel::launch(const Argument* args, const int64_t* extents) {
  size_t work[6] = {1, 1, 1, 1, 1, 1};
  for (size_t i = 0; i < grid_index_.size(); ++i) {
    if (extents[i] <= 0) {
      return;  // an empty dimension of a dynamic shape
    }
    work[grid_index_[i]] = static_cast<size_t>(extents[i]);
  }
  const int64_t begin_ns = Trace::on() ? host_ns() : 0;
  const size_t global[3] = {work[0] * work[3], work[1] * work[4], work[2] * work[5]};

  const std::vector<RegionPtr> regions = find_regions(args);
  const auto placed = std::find_if(regions.begin(), regions.end(), [](const RegionPtr& r) { return r != nullptr; });
  Device& device = placed == regions.end() ? Workspace::get(api).device(0) : (*placed)->device;
  try {
    Trace::finish_if_one_at_a_time(enqueue(device, args, regions, work, global, begin_ns), device.slot);
  } catch (const Error&) {
    for (const RegionPtr& r : regions) {
      if (r) {
        std::lock_guard<std::mutex> lock(r->mu);
        r->end_run();
      }
    }
    throw;
  }
}

Event Kernel::enqueue(Device& device, const Argument* args, const std::vector<RegionPtr>& regions, const size_t* work,
                      const size_t* global, int64_t begin_ns) {
  Queue& queue = device.current();
  Built& b = build_on(device);

  std::lock_guard<std::mutex> lock(b.mu);
  // Each region once, in order of address, to avoid deadlocks between threads.
  std::vector<Region*> unique;
  for (const RegionPtr& r : regions) {
    if (r) {
      unique.push_back(r.get());
    }
  }
  std::sort(unique.begin(), unique.end(), [](const Region* a, const Region* c) { return a->base < c->base; });
  unique.erase(std::unique(unique.begin(), unique.end()), unique.end());
  std::vector<std::unique_lock<std::mutex>> locks;
  locks.reserve(unique.size());
  for (Region* r : unique) {
    locks.emplace_back(r->mu);
  }
  for (size_t i = 0; i < regions.size(); ++i) {
    if (regions[i]) {
      regions[i]->unmap(queue, access_[i]);
    }
  }

  WaitList after;
  for (size_t i = 0; i < regions.size(); ++i) {
    if (regions[i]) {
      regions[i]->order(access_[i], &queue, &after, regions[i]->offset(args[i].address),
                        ArgumentSizes::of(args[i].address));
    }
  }
  set_arguments(device.driver(), b.kernel, args, regions);
  cl_event raw = nullptr;
  const cl_int code = device.driver().EnqueueNDRangeKernel(queue.handle, b.kernel, dimensions_, nullptr, global,
                                                           work + 3, after.size(), after.data(), &raw);
  if (code != CL_SUCCESS) {
    size_t limit = 0;
    device.driver().GetKernelWorkGroupInfo(b.kernel, device.info.handle, CL_KERNEL_WORK_GROUP_SIZE, sizeof limit,
                                           &limit, nullptr);
    raise(code, "launching " + *label_ + " on " + device.text() + " with global size " + sizes(global) +
                    " and local size " + sizes(work + 3) + " (the largest work-group of this kernel on the device is " +
                    std::to_string(limit) + ")");
  }
  const Event done = device.track(queue, raw, label_, after.needs());
  // Reads first: a region that is passed both to be read and to be written counts as written.
  for (Access access : {Access::kRead, Access::kWrite}) {
    for (size_t i = 0; i < regions.size(); ++i) {
      if (regions[i] && access_[i] == access) {
        regions[i]->record(access, done, regions[i]->offset(args[i].address), ArgumentSizes::of(args[i].address));
      }
    }
  }
  Stats::get().launches++;
  if (begin_ns != 0 || device.profiling()) {
    const int64_t end_ns = begin_ns != 0 ? host_ns() : 0;  // kernel_times reports kernels in the device's time
    Trace::get().add({SpanKind::kLaunch, device.slot, begin_ns, end_ns, 0, shared_name_, done});
  }
  return done;
}

}  // namespace coexec
