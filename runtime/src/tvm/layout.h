// The memory plan of a module for the devices at hand (executor/memory/plan.py).
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tvm_abi.h"

namespace coexec {

class Device;
struct CreateOptions;

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
  tvm_abi::DLDevice cpu, gpu;
};

// Name of the memory plan's layout for a device; empty if the requested memory mode is not available.
std::string layout_name(const Device& device);

// The plan for the given devices; none if TVM's own executor is to be used.
std::optional<Layout> find_layout(const std::string& graph_json, const CreateOptions& options,
                                  const std::vector<tvm_abi::DLDevice>& devices);

}  // namespace coexec
