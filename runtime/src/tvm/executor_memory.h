// The memory that a graph executor gets for its storage ids.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "call.h"
#include "executor.h"
#include "layout.h"
#include "weights.h"

namespace coexec {

// Some or all of an executor's storage.
class Memory {
 public:
  Memory(const Program& program, std::shared_ptr<Weights> weights);
  virtual ~Memory() = default;

  // The memory of a storage id, an NDArray that this object owns; null: the executor allocates it.
  virtual void* storage(int64_t number) = 0;
  // Copies the weights that are not used where they are to where the executor needs them.
  void set_weights(void* executor, const std::vector<std::string>& names);
  // Gives up the references to what only the creation of the executor needs: it holds what it uses.
  virtual void release() { weights_.reset(); }

 protected:
  Pieces pieces(const std::string& name) const;
  // A weight where the library has it, if the executor can use it there; else no value.
  Result in_place(const std::string& name, uintptr_t alignment);
  Weights& weights() { return *weights_; }
  void mark_in_place(const std::string& name) { in_place_.insert(name); }

 private:
  const std::map<std::string, Pieces> made_of_;
  std::shared_ptr<Weights> weights_;
  std::set<std::string> in_place_;
};

// Memory by a plan. Allocates the blocks when the executor first asks for one of their tensors.
class PlannedMemory final : public Memory {
 public:
  PlannedMemory(Layout layout, const Program& program, std::shared_ptr<Weights> weights);
  void* storage(int64_t number) override;
  void release() override;
  const Layout& layout() const { return layout_; }

 private:
  Result make_view(const Storage& storage);
  Result allocate(const Block& block);

  const Layout layout_;
  std::vector<Result> blocks_, views_;
};

// The executor's own memory, except for weights on the CPU, which are used where the library has them.
class StockMemory final : public Memory {
 public:
  StockMemory(const Program& program, std::shared_ptr<Weights> weights);
  void* storage(int64_t number) override;
  void release() override;

 private:
  std::map<int64_t, std::string> names_;  // by storage id
  std::map<int64_t, Result> views_;
};

// The callback that TVM's executor asks for storage.
tvm_abi::Ref make_callback(const std::shared_ptr<Memory>& memory);

}  // namespace coexec
