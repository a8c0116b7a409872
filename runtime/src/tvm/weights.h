// The weights of a library, as its programs need them.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "call.h"

namespace coexec {

// Names of stored weights that are, one after the other, a weight of a program.
using Pieces = std::vector<std::string>;

// Programs that share this object share memory where their weights have pieces in common.
class Weights {
 public:
  explicit Weights(Result params) : params_(std::move(params)) {}

  // An array with a weight on the CPU: the library's own array if it is one piece; it must not be changed.
  Result on_cpu(const Pieces& pieces);
  // Memory for a weight on a device. `is_new`: it has to be filled before another program runs.
  Result on_device(const Pieces& pieces, int64_t bytes, tvm_abi::DLDevice device, bool* is_new);

 private:
  struct Place {
    std::shared_ptr<const Result> block;
    int64_t offset, bytes;
  };
  using Key = std::pair<int64_t, std::string>;  // device, pieces

  Result stored(const std::string& name) const;
  Result view(const Place& place) const;
  void keep(int64_t device, const Pieces& pieces, const std::shared_ptr<const Result>& block, int64_t bytes);

  const Result params_;
  std::map<Key, Place> places_;
};

// An array that owns its memory: bytes on a device.
Result allocate_bytes(int64_t bytes, tvm_abi::DLDevice device);

}  // namespace coexec
