// Global functions for the clients of an RPC server: what this library is and whether it could register with TVM, a
// factory from its parts, runs that are timed and recorded here, so that no network is in their times, and the names and
// contents of files, by which a client reads the machine's gauges of energy.
//
// They need TVM's C API alone, and are registered by a constructor of their own: also if the rest was refused, so that
// a client gets the reason.
#include <dirent.h>
#include <dlfcn.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "../../include/tvm_coexec.h"
#include "../cl/cl_error.h"
#include "../exec/json.h"
#include "../exec/trace.h"
#include "call.h"
#include "executor.h"
#include "opencl_choice.h"
#include "packed.h"

#ifndef TVM_COEXEC_VERSION
#define TVM_COEXEC_VERSION "unknown"
#endif

namespace coexec {
namespace {

using namespace tvm_abi;

const char kInfo[] = "tvm_coexec.runtime_info";

const char* machine() {
#if defined(__x86_64__)
  return "x86_64";
#elif defined(__aarch64__)
  return "aarch64";
#elif defined(__arm__)
  return "arm";
#elif defined(__riscv)
  return "riscv64";
#else
  return "unknown";
#endif
}

const char* platform() {
#if defined(__ANDROID__)
  return "android";
#elif defined(__linux__)
  return "linux";
#else
  return "unknown";
#endif
}

// JSON: {"version", "machine", "platform", "opencl": "own", "tvm" or "none", "refused": why nothing was registered, or
// ""}
int info(TVMValue*, int*, int, void* ret, void*) {
  return guarded([&] {
    const char* refused = tvm_coexec_runtime_register();
    const char* opencl = !has_global("device_api.opencl") ? "none" : serves_own_opencl() ? "own" : "tvm";
    return return_string(ret, std::string("{\"version\": ") + json_string(TVM_COEXEC_VERSION) +
                                  ", \"machine\": " + json_string(machine()) +
                                  ", \"platform\": " + json_string(platform()) +
                                  ", \"opencl\": " + json_string(opencl) +
                                  ", \"refused\": " + json_string(refused ? refused : "") + "}");
  });
}

// (graph as JSON, library, parameters as bytes of relay.save_param_dict) -> graph executor factory. TVM's own function
// takes arrays, which do not cross an RPC connection as objects.
int executor_factory(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    if (n != 3 || codes[0] != kStr || codes[1] != kModuleHandle || codes[2] != kBytes) {
      throw Error("tvm_coexec.executor_factory takes a graph, a module and the parameters as bytes");
    }
    const Result params = Arguments().add(args[2].v_handle, kBytes).call(global_function("runtime.LoadParams"));
    const std::vector<std::pair<std::string, Result>> named = named_arrays(params);
    Arguments factory;
    factory.add(args[0].v_str).add(args[1].v_handle, kModuleHandle).add("default");
    for (const auto& [name, array] : named) {
      factory.add(name).add(array);
    }
    return factory.call(global_function("tvm.graph_executor_factory.create")).forward(ret);
  });
}

// (graph executor factory) -> JSON: the names of its parameters. A map of arrays does not cross an RPC connection.
int param_names(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    if (n != 1 || codes[0] != kModuleHandle) {
      throw Error("tvm_coexec.param_names takes a graph executor factory");
    }
    std::string names;
    for (const auto& [name, array] : graph_params(args[0].v_handle)) {
      names += (names.empty() ? "" : ", ") + json_string(name);
    }
    return return_string(ret, "[" + names + "]");
  });
}

// (executor, number of runs[, whether to record one at a time, as Trace::start takes it]) -> JSON: {"windows": [[begin,
// end], ...] of the runs in nanoseconds, "trace": as Trace::take}
int record_runs(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    if (n < 2 || n > 3 || codes[0] != kModuleHandle || codes[1] != kInt || (n == 3 && codes[2] != kInt)) {
      throw Error("tvm_coexec.record_runs takes an executor, the number of runs and whether to run one at a time");
    }
    const Ref run = module_function(args[0].v_handle, "run");
    if (!run.get()) {
      throw Error("tvm_coexec.record_runs takes a graph executor, and this module has no function run");
    }
    std::string windows;
    Trace::get().start(n == 3 && args[2].v_int64 != 0);
    try {
      for (int64_t i = 0; i < args[1].v_int64; ++i) {
        const int64_t begin = host_ns();
        Arguments().call(run);
        windows += (i ? ", [" : "[") + std::to_string(begin) + ", " + std::to_string(host_ns()) + "]";
      }
    } catch (...) {
      Trace::get().take();
      throw;
    }
    return return_string(ret, "{\"windows\": [" + windows + "], \"trace\": " + Trace::get().take() + "}");
  });
}

const char* path_from(const TVMValue* args, const int* codes, int n) {
  if (n != 1 || codes[0] != kStr) {
    throw Error("tvm_coexec.list_folder and tvm_coexec.read_text take a path");
  }
  return args[0].v_str;
}

// (path of a folder) -> JSON: the sorted names in it, or none if it can't be read.
int list_folder(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    std::vector<std::string> names;
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path_from(args, codes, n)), closedir);
    while (const dirent* entry = folder ? readdir(folder.get()) : nullptr) {
      if (entry->d_name[0] != '.') {
        names.emplace_back(entry->d_name);
      }
    }
    std::sort(names.begin(), names.end());
    std::string json;
    for (const std::string& name : names) {
      json += (json.empty() ? "" : ", ") + json_string(name);
    }
    return return_string(ret, "[" + json + "]");
  });
}

// (path of a small text file) -> JSON: {"text": ...} or {"error": why it can't be read}. The kernel's files have no size,
// and an error may come from reading as well as from opening.
int read_text(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    char text[4096];
    size_t size = 0;
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path_from(args, codes, n), "r"), std::fclose);
    if (file) {
      size = std::fread(text, 1, sizeof text, file.get());
    }
    const bool failed = !file || std::ferror(file.get());
    return return_string(ret, failed ? "{\"error\": " + json_string(std::strerror(errno)) + "}"
                                     : "{\"text\": " + json_string(std::string(text, size)) + "}");
  });
}

// Statics of other files may not be initialised yet; see register.cc.
__attribute__((constructor)) void register_server_functions() {
  if (!dlsym(RTLD_DEFAULT, "TVMFuncGetGlobal") || has_global(kInfo) || poses_as_tvm()) {
    return;  // no TVM is visible, or another copy of this library is the registered one
  }
  try {
    register_global("tvm_coexec.executor_factory", executor_factory);
    register_global("tvm_coexec.param_names", param_names);
    register_global("tvm_coexec.record_runs", record_runs);
    register_global("tvm_coexec.list_folder", list_folder);
    register_global("tvm_coexec.read_text", read_text);
    register_global(kInfo, info);
  } catch (const std::exception&) {  // then no client finds them
  }
}

}  // namespace
}  // namespace coexec
