// The outputs of an adaptive module: all variants write the same arrays.
#pragma once
#include <cstddef>
#include <vector>

#include "tvm_abi.h"
#include "variant.h"

namespace coexec {

// The arrays are those of the first variant, with `own` new ones, where the first's may be mapped only at times, or the
// caller's (`redirect`). What a variant's executor can't write there is copied after its runs.
class SharedOutputs {
 public:
  SharedOutputs(const std::vector<Variant>& variants, bool own);

  // After a run of variant `v`: copies what that did not write.
  void copy_from(size_t v) const;

  // (index, array): writes the output to the caller's array from now on.
  int redirect(tvm_abi::TVMValue* args, int* codes, int n);

  // (index) -> array, or (index, array to copy it to)
  int get(tvm_abi::TVMValue* args, int* codes, int n, void* ret) const;

 private:
  void link(size_t i);
  size_t index_from(const tvm_abi::TVMValue* args, const int* codes, int n) const;

  const std::vector<Variant>& variants_;
  std::vector<Result> outputs_;   // what `get` returns
  std::vector<void*> targets_;    // where outputs are written: these, or the caller's arrays
  std::vector<bool> redirected_;  // whether that is not the first variant's own array
};

}  // namespace coexec
