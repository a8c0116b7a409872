#include "executor_memory.h"

#include <utility>

#include "../cl/cl_error.h"
#include "../exec/json_view.h"
#include "host_view.h"
#include "packed.h"

namespace coexec {
namespace {

using namespace tvm_abi;

const uintptr_t kStockAlignment = 128;

Result owned_array(void* array) {
  TVMValue v;
  v.v_handle = array;
  return Result(v, kNDArrayHandle);
}

// The executor's callback: (module, storage id, a tensor of its type, device) -> NDArray.
int storage_callback(TVMValue* args, int*, int, void* ret, void* self) {
  return guarded([&] {
    TVMValue v;
    v.v_handle = (*static_cast<std::shared_ptr<Memory>*>(self))->storage(args[1].v_int64);
    return !v.v_handle ? 0 : return_value(ret, v, kNDArrayHandle);
  });
}

}  // namespace

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

Memory::Memory(const Program& program, std::shared_ptr<Weights> weights)
    : made_of_(program.weights), weights_(std::move(weights)) {}

void Memory::set_weights(void* executor, const std::vector<std::string>& names) {
  const Ref set_input = module_function(executor, "set_input");
  for (const std::string& name : names) {
    if (in_place_.count(name) == 0) {
      const Result value = weights_->on_cpu(pieces(name));
      Arguments().add(name).add(value).call(set_input);
    }
  }
}

Pieces Memory::pieces(const std::string& name) const {
  const auto found = made_of_.find(name);
  return found == made_of_.end() ? Pieces{name} : found->second;
}

Result Memory::in_place(const std::string& name, uintptr_t alignment) {
  Result value = weights_->on_cpu(pieces(name));
  const auto* tensor = static_cast<const DLTensor*>(value.handle());
  if (tensor->device.device_type != kDLCPU ||
      (reinterpret_cast<uintptr_t>(tensor->data) + tensor->byte_offset) % alignment != 0) {
    return Result();
  }
  in_place_.insert(name);
  return value;
}

PlannedMemory::PlannedMemory(Layout layout, const Program& program, std::shared_ptr<Weights> weights)
    : Memory(program, std::move(weights)),
      layout_(std::move(layout)),
      blocks_(layout_.blocks.size()),
      views_(layout_.storages.size()) {}

void* PlannedMemory::storage(int64_t number) {
  Result& view = views_.at(static_cast<size_t>(number));
  if (!view.handle()) {
    view = make_view(layout_.storages[static_cast<size_t>(number)]);
  }
  return view.handle();
}

void PlannedMemory::release() {
  Memory::release();
  blocks_.clear();
  views_.clear();
}

Result PlannedMemory::make_view(const Storage& storage) {
  const Block& block = layout_.blocks.at(storage.block);
  if (block.on_cpu && !block.weight.empty()) {
    Result value = in_place(block.weight, layout_.alignment);
    if (value.handle()) {
      return value;
    }
  }
  Result& memory = blocks_[storage.block];
  if (!memory.handle()) {
    memory = allocate(block);
  }
  return owned_array(
      make_storage_view(static_cast<DLTensor*>(memory.handle()), storage.offset, storage.bytes, storage.on_cpu));
}

Result PlannedMemory::allocate(const Block& block) {
  if (block.on_cpu && block.weight.empty()) {
    return owned_array(make_host_block(block.bytes, layout_.gpu));
  }
  if (block.on_cpu || block.weight.empty()) {
    return allocate_bytes(block.bytes, block.on_cpu ? layout_.cpu : layout_.gpu);
  }
  bool is_new = true;
  Result memory = weights().on_device(pieces(block.weight), block.bytes, layout_.gpu, &is_new);
  if (!is_new) {
    mark_in_place(block.weight);
  }
  return memory;
}

StockMemory::StockMemory(const Program& program, std::shared_ptr<Weights> weights)
    : Memory(program, std::move(weights)) {
  const JsonView graph(program.graph);
  const std::vector<JsonView> nodes = graph.at("nodes").items(), rows = graph.at("node_row_ptr").items();
  const std::vector<JsonView> ids = graph.at("attrs").at("storage_id").items().at(1).items();
  std::vector<JsonView> types;
  if (const JsonView index = graph.at("attrs").at("device_index")) {
    types = index.items().at(1).items();
  }
  for (const JsonView& argument : graph.at("arg_nodes").items()) {
    const auto node = static_cast<size_t>(argument.integer());
    const auto entry = static_cast<size_t>(rows.at(node).integer());
    const std::string name = nodes.at(node).at("name").string();
    if (program.weights.count(name) != 0 && (types.empty() || types.at(entry).integer() == kDLCPU)) {
      names_[ids.at(entry).integer()] = name;
    }
  }
}

void* StockMemory::storage(int64_t number) {
  const auto found = names_.find(number);
  if (found == names_.end()) {
    return nullptr;
  }
  Result& view = views_[number];
  if (!view.handle()) {
    view = in_place(found->second, kStockAlignment);
  }
  return view.handle();
}

void StockMemory::release() {
  Memory::release();
  views_.clear();
}

}  // namespace coexec
