#include "globals.h"

#include <algorithm>
#include <iterator>
#include <sstream>

#include "../cl/cl_error.h"
#include "../cl/device.h"
#include "../cl/faults.h"
#include "../exec/json.h"
#include "../exec/signal.h"
#include "../exec/stats.h"
#include "../exec/trace.h"
#include "../wgpu/driver.h"
#include "executor.h"
#include "gpu_api.h"
#include "host_view.h"
#include "layout.h"
#include "module.h"
#include "packed.h"
#include "sync_point_module.h"
#include "traced_module.h"
#include "variants.h"

namespace coexec {
namespace {

using namespace tvm_abi;

// "own": this runtime serves TVM's opencl devices; "tvm": TVM's own does.
int runtime_name(TVMValue*, int*, int, void* ret, void*) {
  return return_string(ret, serves_own_opencl() ? "own" : "tvm");
}

int why_not_own(TVMValue*, int*, int, void* ret, void*) {
  return return_string(ret, why_tvms_own_opencl());
}

int use(TVMValue* args, int* codes, int n, void*, void*) {
  return guarded([&] {
    if (n != 1 || codes[0] != kStr) {
      throw Error("tvm_coexec.opencl.use takes own or tvm");
    }
    use_opencl(args[0].v_str);
    return 0;
  });
}

template <Api api>
int why_unavailable(TVMValue*, int*, int, void* ret, void*) {
  return return_string(ret, Workspace::why_unavailable(api));
}

template <Api api>
int devices(TVMValue*, int*, int, void* ret, void*) {
  return guarded([&] {
    Workspace& w = Workspace::get(api);
    std::string out = "[";
    for (size_t i = 0; i < w.size(); ++i) {
      const Device& d = w.device(static_cast<int>(i));
      out += (i ? ", {\"id\": " : "{\"id\": ") + std::to_string(i);
      out += ", \"platform\": " + json_string(d.info.platform_name) + ", \"name\": " + json_string(d.info.name);
      out += ", \"version\": " + json_string(d.info.version) + ", \"driver\": " + json_string(d.info.driver);
      out += ", \"type\": " + json_string(d.info.type_name()) + ", \"memory_mode\": " + json_string(d.memory_name());
      out += ", \"storage_layout\": " + json_string(layout_name(d));
      out += ", \"compute_units\": " + std::to_string(d.info.compute_units);
      out += ", \"max_threads\": " + std::to_string(d.info.max_work_group);
      out += ", \"local_bytes\": " + std::to_string(d.info.local_bytes);
      out += ", \"subgroup\": " + std::to_string(d.info.subgroup);
      out += ", \"max_binding_bytes\": " + std::to_string(d.info.max_binding_bytes);
      out += ", \"max_buffers\": " + std::to_string(d.info.max_buffers);
      out += ", \"global_bytes\": " + std::to_string(d.info.global_bytes);
      out += std::string(", \"unified\": ") + (d.info.unified ? "true" : "false");
      out += std::string(", \"fp16\": ") + (d.info.fp16 ? "true" : "false");
      out += std::string(", \"fp64\": ") + (d.info.fp64 ? "true" : "false") + "}";
    }
    return return_string(ret, out + "]");
  });
}

int stats(TVMValue*, int*, int, void* ret, void*) {
  return return_string(ret, Stats::get().json());
}

int reset_stats(TVMValue*, int*, int, void*, void*) {
  Stats::get().reset();
  return 0;
}

int set_profiling(TVMValue* args, int*, int n, void*, void*) {
  return guarded([&] {
    const bool on = n > 0 && args[0].v_int64 != 0;
    const bool vulkan = Workspace::in_use(Api::kVulkan);
    for (Api api : {Api::kOpenCL, Api::kVulkan}) {
      if (api == Api::kOpenCL ? vulkan && !Workspace::in_use(api) : !vulkan) {
        continue;
      }
      Workspace& w = Workspace::get(api);
      for (size_t i = 0; i < w.size(); ++i) {
        w.device(static_cast<int>(i)).set_profiling(on);
      }
    }
    return 0;
  });
}

// (what, nth, count, code), or ("delay", limit in microseconds, seed)
int inject_fault(TVMValue* args, int* codes, int n, void*, void*) {
  return guarded([&] {
    if (n < 3 || codes[0] != kStr) {
      throw Error("tvm_coexec.opencl.inject_fault takes a string and two or three integers");
    }
    const std::string what = args[0].v_str;
    if (what == "delay") {
      faults::delay(args[1].v_int64, static_cast<uint64_t>(args[2].v_int64));
    } else {
      faults::inject(what, args[1].v_int64, args[2].v_int64, n > 3 ? static_cast<cl_int>(args[3].v_int64) : 0);
    }
    return 0;
  });
}

int clear_faults(TVMValue*, int*, int, void*, void*) {
  faults::clear();
  return 0;
}

int fault_hits(TVMValue* args, int*, int, void* ret, void*) {
  return guarded([&] { return return_int(ret, static_cast<int64_t>(faults::hits(args[0].v_str))); });
}

int kernel_times(TVMValue*, int*, int, void* ret, void*) {
  return guarded([&] { return return_string(ret, Trace::get().take_kernels()); });
}

std::vector<std::string> split_words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), std::istream_iterator<std::string>()};
}

// (module, names of the functions in the order in which they are looked up, separated by white space)
int trace_module(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    if (n != 2 || codes[0] != kModuleHandle || codes[1] != kStr) {
      throw Error("tvm_coexec.opencl.trace_module takes a module and a string");
    }
    if (!serves_own_opencl() && !serves_own_vulkan()) {
      throw Error("a run can't be recorded: " + why_tvms_own_opencl());
    }
    Object* made = make_traced_module(static_cast<Object*>(args[0].v_handle), split_words(args[1].v_str));
    return return_object(ret, made, kModuleHandle);
  });
}

// ([whether to record one at a time, as Trace::start takes it])
int trace_start(TVMValue* args, int* codes, int n, void*, void*) {
  return guarded([&] {
    if (n > 1 || (n == 1 && codes[0] != kInt)) {
      throw Error("tvm_coexec.opencl.trace_start takes one number or none");
    }
    Trace::get().start(n == 1 && args[0].v_int64 != 0);
    return 0;
  });
}

int trace_take(TVMValue*, int*, int, void* ret, void*) {
  return guarded([&] { return return_string(ret, Trace::get().take()); });
}

int host_view(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    if (n != 1 || codes[0] != kNDArrayHandle) {
      throw Error("tvm_coexec.opencl.host_view takes one NDArray");
    }
    TVMValue v;
    v.v_handle = make_host_view(static_cast<DLTensor*>(args[0].v_handle));
    const int rc = return_value(ret, v, kNDArrayHandle);
    TVMArrayFree(v.v_handle);
    return rc;
  });
}

// The devices from argument `first` on.
std::vector<DLDevice> devices_from(const TVMValue* args, const int* codes, int n, int first) {
  std::vector<DLDevice> found;
  for (int i = first; i < n; ++i) {
    if (codes[i] != kDevice) {
      throw Error("argument " + std::to_string(i) + " of tvm_coexec.create is not a device");
    }
    found.push_back(args[i].v_device);
  }
  if (found.empty()) {
    throw Error("tvm_coexec.create needs the devices, CPU and GPU, after the module");
  }
  return found;
}

void* factory_from(const TVMValue* args, const int* codes, int n) {
  if (n < 1 || codes[0] != kModuleHandle) {
    throw Error("the first argument of tvm_coexec.create must be a module");
  }
  return args[0].v_handle;
}

CreateOptions options_from(const TVMValue* args, const int* codes, int n) {
  if (n < 2 || codes[1] != kStr) {
    throw Error("the second argument of tvm_coexec.create_with must be the options as JSON");
  }
  return parse_create_options(args[1].v_str);
}

// (factory, device, ...)
int create(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    void* factory = factory_from(args, codes, n);
    return create_executor(factory, {}, devices_from(args, codes, n, 1)).forward(ret);
  });
}

// (factory, options as JSON, device, ...)
int create_with(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    void* factory = factory_from(args, codes, n);
    const CreateOptions options = options_from(args, codes, n);
    const std::vector<DLDevice> devices = devices_from(args, codes, n, 2);
    return (options.adaptive ? create_adaptive(factory, devices) : create_executor(factory, options, devices))
        .forward(ret);
  });
}

// As create_with; returns the graph instead.
int graph_for(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    void* factory = factory_from(args, codes, n);
    const CreateOptions options = options_from(args, codes, n);
    return return_string(ret, executor_graph(factory, options, devices_from(args, codes, n, 2)));
  });
}

template <Api api>
int waiting(TVMValue* args, int*, int n, void* ret, void*) {
  return guarded([&] {
    Device& device = Workspace::get(api).device(n > 0 ? static_cast<int>(args[0].v_int64) : 0);
    return return_string(ret, Signals::of(device).measured_json());
  });
}

// (source, kernel name, argument types, launch tags) once or more, the last two separated by spaces
template <Api api>
int source_module(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    if (n == 0 || n % 4 != 0 || std::any_of(codes, codes + n, [](int c) { return c != kStr; })) {
      throw Error(std::string("tvm_coexec.") + api_name(api) + ".source_module takes four strings for each kernel");
    }
    std::vector<std::pair<FunctionInfo, std::string>> kernels;
    for (int i = 0; i < n; i += 4) {
      FunctionInfo kernel;
      kernel.name = args[i + 1].v_str;
      for (const std::string& type : split_words(args[i + 2].v_str)) {
        kernel.arg_types.push_back(parse_dtype(type));
      }
      kernel.launch_tags = split_words(args[i + 3].v_str);
      kernels.emplace_back(std::move(kernel), args[i].v_str);
    }
    return return_object(ret, make_source_module(api, kernels), kModuleHandle);
  });
}

// "own": this runtime serves TVM's vulkan devices; "tvm": it stands aside.
int vulkan_runtime(TVMValue*, int*, int, void* ret, void*) {
  return return_string(ret, serves_own_vulkan() ? "own" : "tvm");
}

int vulkan_why_not_own(TVMValue*, int*, int, void* ret, void*) {
  return return_string(ret, why_not_own_vulkan());
}

int vulkan_set_library(TVMValue* args, int* codes, int n, void*, void*) {
  return guarded([&] {
    if (n != 1 || codes[0] != kStr) {
      throw Error("tvm_coexec.vulkan.set_library takes a path");
    }
    set_wgpu_library(args[0].v_str);
    return 0;
  });
}

// (WGSL): what wgpu-native's compiler says against it, or "".
int vulkan_check(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    if (n != 1 || codes[0] != kStr) {
      throw Error("tvm_coexec.vulkan.check takes a shader");
    }
    return return_string(ret, check_wgsl(args[0].v_str));
  });
}

}  // namespace

void register_globals() {
  register_global("tvm_coexec.create", create);
  register_global("tvm_coexec.create_with", create_with);
  register_global("tvm_coexec.executor_graph", graph_for);
  register_global("tvm_coexec.opencl.runtime", runtime_name);
  register_global("tvm_coexec.opencl.why_not_own", why_not_own);
  register_global("tvm_coexec.opencl.use", use);
  register_global("tvm_coexec.opencl.why_unavailable", why_unavailable<Api::kOpenCL>);
  register_global("tvm_coexec.vulkan.why_unavailable", why_unavailable<Api::kVulkan>);
  register_global("tvm_coexec.opencl.devices", devices<Api::kOpenCL>);
  register_global("tvm_coexec.vulkan.devices", devices<Api::kVulkan>);
  register_global("tvm_coexec.vulkan.runtime", vulkan_runtime);
  register_global("tvm_coexec.vulkan.why_not_own", vulkan_why_not_own);
  register_global("tvm_coexec.vulkan.set_library", vulkan_set_library);
  register_global("tvm_coexec.vulkan.check", vulkan_check);
  register_global("tvm_coexec.opencl.stats", stats);
  register_global("tvm_coexec.opencl.reset_stats", reset_stats);
  register_global("tvm_coexec.opencl.set_profiling", set_profiling);
  register_global("tvm_coexec.opencl.kernel_times", kernel_times);
  register_global("tvm_coexec.opencl.inject_fault", inject_fault);
  register_global("tvm_coexec.opencl.clear_faults", clear_faults);
  register_global("tvm_coexec.opencl.fault_hits", fault_hits);
  register_global("tvm_coexec.opencl.trace_module", trace_module);
  register_global("tvm_coexec.opencl.trace_start", trace_start);
  register_global("tvm_coexec.opencl.trace_take", trace_take);
  register_global("tvm_coexec.opencl.host_view", host_view);
  register_global("tvm_coexec.opencl.waiting", waiting<Api::kOpenCL>);
  register_global("tvm_coexec.vulkan.waiting", waiting<Api::kVulkan>);
  register_global("tvm_coexec.opencl.source_module", source_module<Api::kOpenCL>);
  register_global("tvm_coexec.vulkan.source_module", source_module<Api::kVulkan>);
}

}  // namespace coexec
