// include/tvm_coexec.h over TVM's C API.
#include <memory>
#include <set>

#include "../../include/tvm_coexec.h"
#include "../cl/cl_error.h"
#include "../exec/json_view.h"
#include "call.h"
#include "executor.h"
#include "packed.h"
#include "variants.h"

#define EXPORTED __attribute__((visibility("default")))

using namespace coexec;
using namespace coexec::tvm_abi;

struct tvm_coexec_module {
  Result library, executor;
  Ref run;
  struct Tensor {
    std::string name;
    Result array;
    const DLTensor& tensor() const { return *static_cast<const DLTensor*>(array.handle()); }
  };
  std::vector<Tensor> inputs, outputs;
  bool outputs_on_gpu = false;
  std::string stats;
};

namespace {

std::string& error_text() {
  thread_local std::string text;
  return text;
}

// TVM's errors have a class name in front of the message, and a stack trace after it or, in some builds, before it.
std::string one_sentence(std::string text) {
  text = text.substr(0, text.find("\nStack trace:"));
  const size_t traced = text.rfind("\n  File \"");
  if (text.find("Traceback (most recent") != std::string::npos && traced != std::string::npos) {
    const size_t end = text.find('\n', traced + 1);
    text = end == std::string::npos ? text : text.substr(end + 1);
  }
  const std::string kind = "TVMError: ";
  if (text.compare(0, kind.size(), kind) == 0) {
    text.erase(0, kind.size());
  }
  std::string joined;
  for (char c : text) {
    const bool space = c == '\n' || c == ' ';
    if (!space || (!joined.empty() && joined.back() != ' ')) {
      joined += space ? ' ' : c;
    }
  }
  joined.erase(joined.find_last_not_of(' ') + 1);
  return joined;
}

template <class F>
int attempt(F&& f) {
  try {
    f();
    return 0;
  } catch (const std::exception& e) {
    error_text() = one_sentence(e.what());
    return -1;
  }
}

std::set<int64_t> device_types(const JsonView& graph) {
  std::set<int64_t> types{kDLCPU};
  if (const JsonView index = graph.at("attrs").at("device_index")) {
    for (const JsonView& type : index.items().at(1).items()) {
      types.insert(type.integer());
    }
  }
  return types;
}

Result tensor_of(void* executor, const char* get, int64_t index) {
  return Arguments().add(index).call(module_function(executor, get));
}

std::unique_ptr<tvm_coexec_module> open(const char* path, int gpu, bool adaptive) {
  if (const char* reason = tvm_coexec_runtime_register()) {
    throw Error(reason);
  }
  auto m = std::make_unique<tvm_coexec_module>();
  m->library = Arguments().add(path).add("").call(global_function("runtime.ModuleLoadFromFile"));
  void* factory = m->library.handle();
  const Ref get_graph = module_function(factory, "get_graph_json");
  if (!get_graph.get()) {
    throw Error(std::string(path) + " is not a graph executor's library: export the result of tvm_coexec.build");
  }
  const std::string text = Arguments().call(get_graph).string();
  const JsonView graph(text);
  std::vector<DLDevice> devices;
  std::set<int64_t> types = device_types(graph);
  if (const JsonView variants = graph.at("metadata").at("coexec").at("variants"); variants && adaptive) {
    for (const JsonView& variant : variants.items()) {
      types.merge(device_types(variant.at("graph")));
    }
  }
  for (int64_t type : types) {
    devices.push_back({static_cast<int32_t>(type), type == kDLCPU ? 0 : gpu});
  }
  m->executor = adaptive ? create_adaptive(factory, devices) : create_executor(factory, {}, devices);
  void* executor = m->executor.handle();
  m->run = module_function(executor, "run");
  std::set<std::string> weights;
  for (auto& param : graph_params(factory)) {
    weights.insert(std::move(param.first));
  }
  const std::vector<JsonView> nodes = graph.at("nodes").items(), arguments = graph.at("arg_nodes").items();
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string name = nodes.at(static_cast<size_t>(arguments[i].integer())).at("name").string();
    if (weights.count(name) == 0) {
      m->inputs.push_back({std::move(name), tensor_of(executor, "get_input", static_cast<int64_t>(i))});
    }
  }
  const int64_t n = Arguments().call(module_function(executor, "get_num_outputs")).integer();
  for (int64_t i = 0; i < n; ++i) {
    m->outputs.push_back({"", tensor_of(executor, "get_output", i)});
    m->outputs_on_gpu |= m->outputs.back().tensor().device.device_type != kDLCPU;
  }
  return m;
}

const tvm_coexec_module::Tensor& find(const std::vector<tvm_coexec_module::Tensor>& all, int index, const char* what) {
  if (index < 0 || static_cast<size_t>(index) >= all.size()) {
    throw Error("the module has " + std::to_string(all.size()) + " " + what + "s, so there is no " + what + " " +
                std::to_string(index));
  }
  return all[static_cast<size_t>(index)];
}

void describe(const tvm_coexec_module::Tensor& from, tvm_coexec_tensor* to) {
  const DLTensor& t = from.tensor();
  const char* name = from.name.empty() ? nullptr : from.name.c_str();
  *to = {name, t.ndim, t.shape, t.dtype.code, t.dtype.bits, tensor_bytes(t)};
}

void check_bytes(const tvm_coexec_module::Tensor& tensor, size_t bytes) {
  const size_t want = tensor_bytes(tensor.tensor());
  if (bytes != want) {
    throw Error((tensor.name.empty() ? "the output" : "the input '" + tensor.name + "'") + " has " +
                std::to_string(want) + " bytes, not " + std::to_string(bytes));
  }
}

}  // namespace

extern "C" {

EXPORTED const char* tvm_coexec_error(void) {
  return error_text().c_str();
}

EXPORTED tvm_coexec_module* tvm_coexec_open(const char* path, int gpu) {
  std::unique_ptr<tvm_coexec_module> made;
  attempt([&] { made = open(path, gpu, false); });
  return made.release();
}

EXPORTED tvm_coexec_module* tvm_coexec_open_adaptive(const char* path, int gpu) {
  std::unique_ptr<tvm_coexec_module> made;
  attempt([&] { made = open(path, gpu, true); });
  return made.release();
}

EXPORTED const char* tvm_coexec_stats(tvm_coexec_module* module) {
  const char* found = nullptr;
  attempt([&] {
    const Ref stats = module_function(module->executor.handle(), "stats");
    if (!stats.get()) {
      throw Error("only a module of tvm_coexec_open_adaptive has statistics");
    }
    module->stats = Arguments().call(stats).string();
    found = module->stats.c_str();
  });
  return found;
}

EXPORTED void tvm_coexec_close(tvm_coexec_module* module) {
  delete module;
}

EXPORTED int tvm_coexec_num_inputs(const tvm_coexec_module* module) {
  return static_cast<int>(module->inputs.size());
}

EXPORTED int tvm_coexec_num_outputs(const tvm_coexec_module* module) {
  return static_cast<int>(module->outputs.size());
}

EXPORTED int tvm_coexec_input(const tvm_coexec_module* module, int index, tvm_coexec_tensor* tensor) {
  return attempt([&] { describe(find(module->inputs, index, "input"), tensor); });
}

EXPORTED int tvm_coexec_output(const tvm_coexec_module* module, int index, tvm_coexec_tensor* tensor) {
  return attempt([&] { describe(find(module->outputs, index, "output"), tensor); });
}

EXPORTED int tvm_coexec_set_input(tvm_coexec_module* module, int index, const void* data, size_t bytes) {
  return attempt([&] {
    const auto& tensor = find(module->inputs, index, "input");
    check_bytes(tensor, bytes);
    if (bytes > 0 && TVMArrayCopyFromBytes(tensor.array.handle(), const_cast<void*>(data), bytes) != 0) {
      throw Error(last_tvm_error());
    }
  });
}

EXPORTED int tvm_coexec_get_output(tvm_coexec_module* module, int index, void* data, size_t bytes) {
  return attempt([&] {
    const auto& tensor = find(module->outputs, index, "output");
    check_bytes(tensor, bytes);
    if (bytes > 0 && TVMArrayCopyToBytes(tensor.array.handle(), data, bytes) != 0) {
      throw Error(last_tvm_error());
    }
  });
}

EXPORTED int tvm_coexec_run(tvm_coexec_module* module) {
  return attempt([&] {
    Arguments().call(module->run);
    if (module->outputs_on_gpu) {
      const DLDevice gpu = module->outputs[0].tensor().device;
      if (TVMSynchronize(gpu.device_type, gpu.device_id, nullptr) != 0) {
        throw Error(last_tvm_error());
      }
    }
  });
}

}  // extern "C"
