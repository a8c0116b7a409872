#include "executor.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "../cl/cl_error.h"
#include "../cl/device.h"
#include "../exec/json_view.h"
#include "../exec/signal.h"
#include "host_view.h"
#include "opencl_choice.h"
#include "packed.h"
#include "sync_point_module.h"
#include "traced_module.h"

namespace coexec {
namespace {

using namespace tvm_abi;

const int64_t kPlanVersion = 1;

// One allocation of the plan.
struct Block {
  bool on_cpu;
  int64_t bytes;
  std::string weight;  // name of the parameter that it holds, or empty
};

// Memory of one storage id of the executor's graph.
struct Storage {
  bool on_cpu;
  size_t block;
  int64_t offset, bytes;
};

// A memory plan for one memory mode, and what it is made with.
struct Layout {
  std::string graph;
  std::vector<Block> blocks;
  std::vector<Storage> storages;
  std::vector<std::string> weights;
  std::set<std::string> launching;  // functions that launch kernels
  uintptr_t alignment = 1;
  DLDevice cpu, gpu;
};

const char* layout_name(MemoryMode mode) {
  switch (mode) {
    case MemoryMode::kFineSvm:
      return "shared";
    case MemoryMode::kCoarseSvm:
    case MemoryMode::kHostPtr:
      return "mapped";
    default:
      return "copied";
  }
}

Ref factory_function(void* factory, const char* name) {
  Ref f = module_function(factory, name);
  if (!f.get()) {
    throw Error("tvm_coexec.create needs a graph executor factory, and this module has no function " +
                std::string(name) + ": pass the module that was exported, after loading it");
  }
  return f;
}

std::string graph_of(void* factory) {
  return Arguments().call(factory_function(factory, "get_graph_json")).string();
}

std::vector<std::string> strings(const JsonView& array) {
  std::vector<std::string> found;
  for (const JsonView& v : array.items()) {
    found.push_back(v.string());
  }
  return found;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::optional<DLDevice> device_of_type(const std::vector<DLDevice>& devices, int32_t type) {
  const auto found = std::find_if(devices.begin(), devices.end(), [&](DLDevice d) { return d.device_type == type; });
  return found == devices.end() ? std::nullopt : std::optional(*found);
}

// The plan for the given devices; none if TVM's own executor is to be used.
std::optional<Layout> find_layout(const std::string& graph_json, const CreateOptions& options,
                                  const std::vector<DLDevice>& devices) {
  const auto cpu = device_of_type(devices, kDLCPU), gpu = device_of_type(devices, kDLOpenCL);
  if (!serves_own_opencl() || !cpu || !gpu) {
    return std::nullopt;
  }
  const JsonView plan = options.memory.empty() ? JsonView(graph_json).at("metadata").at("coexec").at("memory")
                                               : JsonView(options.memory);
  if (!plan || plan.at("version").text() != std::to_string(kPlanVersion)) {
    return std::nullopt;
  }
  if (const JsonView refusal = plan.at("refusal")) {
    throw Error(refusal.string());
  }
  if (Workspace::get().options().blocking_copies) {
    return std::nullopt;
  }
  Device& device = Workspace::get().device(gpu->device_id);
  const JsonView layout = plan.at("layouts").at(layout_name(device.memory()));
  if (!layout) {
    return std::nullopt;  // no valid one was found when the module was compiled, which was reported then
  }
  Layout found;
  found.graph = std::string(layout.at("graph").text());
  // The way to wait is measured here, at the first call in the process, rather than in the first run.
  if (device.memory() == MemoryMode::kFineSvm && Signals::of(device).method() != WaitMethod::kFlag) {
    found.graph = replace_all(std::move(found.graph), R"("func_name":"coexec_signal")", R"("func_name":"__nop")");
  }
  for (const JsonView& block : layout.at("blocks").items()) {
    const std::vector<JsonView> fields = block.items();
    found.blocks.push_back({fields.at(0).string() == "cpu", fields.at(1).integer(),
                            fields.size() > 2 ? fields[2].string() : std::string()});
  }
  for (const JsonView& storage : layout.at("storages").items()) {
    const std::vector<JsonView> fields = storage.items();
    found.storages.push_back({fields.at(0).integer() == kDLCPU, static_cast<size_t>(fields.at(1).integer()),
                              fields.at(2).integer(), fields.at(3).integer()});
  }
  found.weights = strings(plan.at("weights"));
  const std::vector<std::string> launching = strings(plan.at("launching"));
  found.launching = {launching.begin(), launching.end()};
  found.alignment = static_cast<uintptr_t>(plan.at("alignment").integer());
  found.cpu = *cpu;
  found.gpu = *gpu;
  return found;
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

Ref compiled_library(void* factory) {
  const Result module =
      Arguments().add(factory, kModuleHandle).add(int64_t{0}).call(global_function("runtime.ModuleGetImport"));
  TVMObjectRetain(module.handle());
  return Ref(module.handle());
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

// Allocates the blocks when the executor first asks for one of their tensors.
class Memory {
 public:
  Memory(Layout layout, Result params)
      : layout_(std::move(layout)),
        params_(std::move(params)),
        blocks_(layout_.blocks.size()),
        views_(layout_.storages.size()) {}

  // The memory of a storage id, an NDArray that this object owns.
  void* storage(int64_t number) {
    Result& view = views_.at(static_cast<size_t>(number));
    if (!view.handle()) {
      view = make_view(layout_.storages[static_cast<size_t>(number)]);
    }
    return view.handle();
  }

  Result param(const std::string& name) const {
    const Ref key = make_string(name);
    return Arguments().add(params_).add(key.get(), kObjectHandle).call(global_function("runtime.MapGetItem"));
  }

  // Copies the weights that are not used where they are to where the executor needs them.
  void set_weights(void* executor) const {
    const Ref set_input = factory_function(executor, "set_input");
    for (const std::string& name : layout_.weights) {
      if (in_place_.count(name) == 0) {
        const Result value = param(name);
        Arguments().add(name).add(value).call(set_input);
      }
    }
  }

  // Gives up the references to what only the creation of the executor needs: it holds what it uses.
  void release() {
    params_ = Result();
    blocks_.clear();
    views_.clear();
  }

  const Layout& layout() const { return layout_; }

 private:
  Result make_view(const Storage& storage) {
    const Block& block = layout_.blocks.at(storage.block);
    if (block.on_cpu && !block.weight.empty()) {
      Result value = param(block.weight);
      const auto* tensor = static_cast<const DLTensor*>(value.handle());
      if (tensor->device.device_type == kDLCPU &&
          (reinterpret_cast<uintptr_t>(tensor->data) + tensor->byte_offset) % layout_.alignment == 0) {
        in_place_.insert(block.weight);
        return value;
      }
    }
    Result& memory = blocks_[storage.block];
    if (!memory.handle()) {
      memory = allocate(block);
    }
    return array(
        make_storage_view(static_cast<DLTensor*>(memory.handle()), storage.offset, storage.bytes, storage.on_cpu));
  }

  Result allocate(const Block& block) const {
    if (block.on_cpu && block.weight.empty()) {
      return array(make_host_block(block.bytes, layout_.gpu.device_id));
    }
    const DLDevice device = block.on_cpu ? layout_.cpu : layout_.gpu;
    void* out = nullptr;
    if (TVMArrayAlloc(&block.bytes, 1, 1, 8, 1, device.device_type, device.device_id, &out) != 0) {
      throw Error(last_tvm_error());
    }
    return array(out);
  }

  static Result array(void* owned) {
    TVMValue v;
    v.v_handle = owned;
    return Result(v, kNDArrayHandle);
  }

  const Layout layout_;
  Result params_;
  std::vector<Result> blocks_, views_;
  std::set<std::string> in_place_;
};

// The executor's callback: (module, storage id, a tensor of its type, device) -> NDArray.
int storage_callback(TVMValue* args, int*, int, void* ret, void* self) {
  return guarded([&] {
    TVMValue v;
    v.v_handle = (*static_cast<std::shared_ptr<Memory>*>(self))->storage(args[1].v_int64);
    return return_value(ret, v, kNDArrayHandle);
  });
}

Ref make_callback(const std::shared_ptr<Memory>& memory) {
  auto state = std::make_unique<std::shared_ptr<Memory>>(memory);
  void* f = nullptr;
  if (TVMFuncCreateFromCFunc(
          storage_callback, state.get(), [](void* p) { delete static_cast<std::shared_ptr<Memory>*>(p); }, &f) != 0) {
    throw Error("TVM cannot make a function: " + last_tvm_error());
  }
  state.release();
  return Ref(f);
}

Result create_stock(void* factory, const std::string& graph, bool trace, const std::vector<DLDevice>& devices) {
  if (!trace) {
    Arguments args;
    for (DLDevice d : devices) {
      args.add(d);
    }
    return args.call(factory_function(factory, "default"));
  }
  if (!serves_own_opencl()) {
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
  return options;
}

Result create_executor(void* factory, const CreateOptions& options, const std::vector<DLDevice>& devices) {
  const std::string graph = graph_of(factory);
  std::optional<Layout> layout = find_layout(graph, options, devices);
  if (!layout) {
    return create_stock(factory, graph, options.trace, devices);
  }
  Ref module(make_sync_point_module(compiled_library(factory).get(), layout->launching));
  if (options.trace) {
    module = with_trace(std::move(module), layout->graph);
  }
  const auto memory = std::make_shared<Memory>(std::move(*layout),
                                               Arguments().call(factory_function(factory, "get_graph_params")));
  const Layout& used = memory->layout();
  Result executor = start_executor(used.graph, module, make_callback(memory), {used.cpu, used.gpu});
  memory->set_weights(executor.handle());
  memory->release();
  return executor;
}

std::string executor_graph(void* factory, const CreateOptions& options, const std::vector<DLDevice>& devices) {
  std::string graph = graph_of(factory);
  std::optional<Layout> layout = find_layout(graph, options, devices);
  return layout ? std::move(layout->graph) : graph;
}

}  // namespace coexec
