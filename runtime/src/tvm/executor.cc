#include "executor.h"

#include <memory>
#include <optional>
#include <set>

#include "../cl/cl_error.h"
#include "../exec/json_view.h"
#include "executor_memory.h"
#include "gpu_api.h"
#include "layout.h"
#include "packed.h"
#include "sync_point_module.h"
#include "traced_module.h"

namespace coexec {
namespace {

using namespace tvm_abi;

Ref factory_function(void* factory, const char* name) {
  Ref f = module_function(factory, name);
  if (!f.get()) {
    throw Error("tvm_coexec.create needs a graph executor factory, and this module has no function " +
                std::string(name) + ": pass the module that was exported, after loading it");
  }
  return f;
}

// The functions that an executor looks up for a graph's nodes, in its order.
std::vector<std::string> called_functions(const std::string& graph) {
  std::vector<std::string> found;
  for (const JsonView& node : JsonView(graph).at("nodes").items()) {
    if (node.at("op").string() != "null") {
      const std::string name = node.at("attrs").at("func_name").string();
      if (name != "__nop" && name != "__copy") {
        found.push_back(name);
      }
    }
  }
  return found;
}

// TVM's executor of a graph; a null callback leaves the memory to it.
Result start_executor(const std::string& graph, const Ref& module, const Ref& storage_callback,
                      const std::vector<DLDevice>& devices) {
  Arguments args;
  args.add(graph).add(module.get(), kModuleHandle);
  if (storage_callback.get()) {
    args.add(storage_callback.get(), kPackedFuncHandle);
  }
  for (DLDevice d : devices) {
    args.add(d.device_type).add(d.device_id);
  }
  return args.call(global_function("tvm.graph_executor.create"));
}

Ref with_trace(Ref module, const std::string& graph) {
  return Ref(make_traced_module(static_cast<Object*>(module.get()), called_functions(graph)));
}

Result create_planned(Layout layout, const Program& program, const std::shared_ptr<Weights>& weights, bool trace) {
  Ref module(make_sync_point_module(program.library.get(), layout.launching));
  if (trace) {
    module = with_trace(std::move(module), layout.graph);
  }
  const auto memory = std::make_shared<PlannedMemory>(std::move(layout), program, weights);
  const Layout& used = memory->layout();
  Result executor = start_executor(used.graph, module, make_callback(memory), {used.cpu, used.gpu});
  memory->set_weights(executor.handle(), used.weights);
  memory->release();
  return executor;
}

Result create_stock(void* factory, const std::string& graph, bool trace, const std::vector<DLDevice>& devices) {
  if (!trace) {
    Arguments args;
    for (DLDevice d : devices) {
      args.add(d);
    }
    return args.call(factory_function(factory, "default"));
  }
  if (!serves_own_opencl() && !serves_own_vulkan()) {
    throw Error("a run can't be recorded: " + why_tvms_own_opencl());
  }
  Result executor = start_executor(graph, with_trace(compiled_library(factory), graph), Ref(), devices);
  const Ref set_input = factory_function(executor.handle(), "set_input");
  for (const auto& [name, value] : graph_params(factory)) {
    Arguments().add(name).add(value).call(set_input);
  }
  return executor;
}

}  // namespace

std::string graph_of(void* factory) {
  return Arguments().call(factory_function(factory, "get_graph_json")).string();
}

Ref compiled_library(void* factory) {
  const Result module =
      Arguments().add(factory, kModuleHandle).add(int64_t{0}).call(global_function("runtime.ModuleGetImport"));
  TVMObjectRetain(module.handle());
  return Ref(module.handle());
}

std::vector<std::pair<std::string, Result>> graph_params(void* factory) {
  return named_arrays(Arguments().call(factory_function(factory, "get_graph_params")));
}

std::vector<std::pair<std::string, Result>> named_arrays(const Result& map) {
  const Result items = Arguments().add(map).call(global_function("runtime.MapItems"));
  const int64_t n = Arguments().add(items).call(global_function("runtime.ArraySize")).integer();
  const Ref get = global_function("runtime.ArrayGetItem");
  std::vector<std::pair<std::string, Result>> found;
  for (int64_t i = 0; i + 1 < n; i += 2) {
    found.emplace_back(Arguments().add(items).add(i).call(get).string(), Arguments().add(items).add(i + 1).call(get));
  }
  return found;
}

CreateOptions parse_create_options(const std::string& json) {
  const JsonView given(json);
  CreateOptions options;
  options.memory = std::string(given.at("memory").text());
  options.trace = given.at("trace").text() == "true";
  options.adaptive = given.at("adaptive").text() == "true";
  return options;
}

Result create_program(const Program& program, const std::shared_ptr<Weights>& weights, const CreateOptions& options,
                      const std::vector<DLDevice>& devices, std::string* graph) {
  if (std::optional<Layout> layout = find_layout(program.graph, options, devices)) {
    if (graph) {
      *graph = layout->graph;
    }
    return create_planned(std::move(*layout), program, weights, options.trace);
  }
  if (graph) {
    *graph = program.graph;
  }
  const auto memory = std::make_shared<StockMemory>(program, weights);
  Result executor = start_executor(program.graph, program.library, make_callback(memory), devices);
  std::vector<std::string> names;
  for (const auto& weight : program.weights) {
    names.push_back(weight.first);
  }
  memory->set_weights(executor.handle(), names);
  memory->release();
  return executor;
}

Result create_executor(void* factory, const CreateOptions& options, const std::vector<DLDevice>& devices) {
  const std::string graph = graph_of(factory);
  std::optional<Layout> layout = find_layout(graph, options, devices);
  if (!layout) {
    return create_stock(factory, graph, options.trace, devices);
  }
  const auto weights = std::make_shared<Weights>(Arguments().call(factory_function(factory, "get_graph_params")));
  return create_planned(std::move(*layout), {"", compiled_library(factory), {}}, weights, options.trace);
}

std::string executor_graph(void* factory, const CreateOptions& options, const std::vector<DLDevice>& devices) {
  std::string graph = graph_of(factory);
  std::optional<Layout> layout = find_layout(graph, options, devices);
  return layout ? std::move(layout->graph) : graph;
}

}  // namespace coexec
