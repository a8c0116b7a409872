#include "variants.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "../cl/cl_error.h"
#include "../cl/device.h"
#include "../exec/json_view.h"
#include "adaptive_module.h"
#include "executor.h"
#include "gpu_api.h"

namespace coexec {
namespace {

using namespace tvm_abi;

const char* const kMain = "split";

std::vector<std::string> argument_names(const JsonView& graph) {
  const std::vector<JsonView> nodes = graph.at("nodes").items();
  std::vector<std::string> names;
  for (const JsonView& argument : graph.at("arg_nodes").items()) {
    names.push_back(nodes.at(static_cast<size_t>(argument.integer())).at("name").string());
  }
  return names;
}

std::map<std::string, Pieces> read_weights(const JsonView& made_of) {
  std::map<std::string, Pieces> found;
  for (const auto& [name, pieces] : made_of.members()) {
    for (const JsonView& piece : pieces.items()) {
      found[name].push_back(piece.string());
    }
  }
  return found;
}

// Whether outputs of planned memory may be accessed by the host only while they are mapped.
bool has_mapped_outputs(const std::vector<DLDevice>& devices) {
  return std::any_of(devices.begin(), devices.end(), [](DLDevice d) {
    const auto api = api_of(d);
    if (!api || !serves_own(*api)) {
      return false;
    }
    const MemoryMode mode = Workspace::get(*api).device(d.device_id).memory();
    return mode == MemoryMode::kCoarseSvm || mode == MemoryMode::kHostPtr;
  });
}

}  // namespace

Result create_adaptive(void* factory, const std::vector<DLDevice>& devices) {
  const std::string text = graph_of(factory);
  const JsonView graph(text), coexec = graph.at("metadata").at("coexec"), others = coexec.at("variants");
  if (!others) {
    throw Error(
        "the library holds one program only, so it can't be adaptive: build it with adaptive=True or "
        "--coexec-adaptive");
  }
  const Ref library = compiled_library(factory);
  std::set<std::string> stored;
  std::map<std::string, Pieces> own;
  for (auto& param : graph_params(factory)) {
    stored.insert(std::move(param.first));
  }
  const std::vector<std::string> arguments = argument_names(graph);
  std::vector<std::string> inputs;
  for (const std::string& name : arguments) {
    if (stored.count(name) != 0) {
      own[name] = {name};
    } else {
      inputs.push_back(name);
    }
  }
  const auto weights = std::make_shared<Weights>(Arguments().call(module_function(factory, "get_graph_params")));
  std::vector<Program> programs{{text, library, std::move(own)}};
  std::vector<std::string> names{kMain};
  for (const JsonView& other : others.items()) {
    names.push_back(other.at("name").string());
    programs.push_back({std::string(other.at("graph").text()), library, read_weights(other.at("weights"))});
  }
  // The other variants first: weights of the main one may be parts of theirs.
  std::vector<Variant> variants(programs.size());
  for (size_t i = programs.size(); i-- > 0;) {
    Variant& v = variants[i];
    std::string used;
    v.name = names[i];
    v.span = std::make_shared<const std::string>(names[i]);
    v.executor = create_program(programs[i], weights, {}, devices, &used);
    v.run = module_function(v.executor.handle(), "run");
    v.outputs = find_output_links(JsonView(used));
  }
  return make_adaptive_module(std::move(variants), {arguments, std::move(inputs)}, has_mapped_outputs(devices),
                              std::string(coexec.at("weight_bytes").text()));
}

}  // namespace coexec
