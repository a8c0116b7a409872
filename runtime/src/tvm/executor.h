// tvm_coexec.create: the stock graph executor of a module that both devices run.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "call.h"
#include "weights.h"

namespace coexec {

// What a caller may ask for beyond the module and its devices.
struct CreateOptions {
  // The memory plan as JSON (executor/memory/plan.py); empty: the one in the module's graph.
  std::string memory;
  // Whether the module's calls are recorded while a trace is being recorded.
  bool trace = false;
  // Whether the module changes between the variants in the library (adaptive_module.h).
  bool adaptive = false;
};

// What an executor runs: a graph, a module with its functions, and what its weights are made of where they are not the
// library's weights of the same names.
struct Program {
  std::string graph;
  tvm_abi::Ref library;
  std::map<std::string, Pieces> weights;
};

CreateOptions parse_create_options(const std::string& json);

// The executor's module. If the module has a memory plan, and its GPU is a device of this runtime, the executor gets
// the plan's graph for the device's memory mode and the memory that the plan describes; otherwise, TVM's own. `factory`
// is an executor factory, in memory or loaded.
Result create_executor(void* factory, const CreateOptions& options, const std::vector<tvm_abi::DLDevice>& devices);

// The same for one program of a library; without a memory plan, the executor's own memory and the library's weights. If
// `graph` is given, it gets the executor's graph.
Result create_program(const Program& program, const std::shared_ptr<Weights>& weights, const CreateOptions& options,
                      const std::vector<tvm_abi::DLDevice>& devices, std::string* graph = nullptr);

// The graph of a factory, and the module with its functions.
std::string graph_of(void* factory);
tvm_abi::Ref compiled_library(void* factory);

// The graph that `create_executor` gives to the executor, as JSON.
std::string executor_graph(void* factory, const CreateOptions& options, const std::vector<tvm_abi::DLDevice>& devices);

// Names and arrays of a map of arrays, and of a factory's parameters.
std::vector<std::pair<std::string, Result>> named_arrays(const Result& map);
std::vector<std::pair<std::string, Result>> graph_params(void* factory);

}  // namespace coexec
