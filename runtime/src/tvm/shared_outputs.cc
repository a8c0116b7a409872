#include "shared_outputs.h"

#include <string>
#include <utility>

#include "../cl/cl_error.h"
#include "packed.h"

namespace coexec {

using namespace tvm_abi;

namespace {

// A new array of the same shape on the CPU.
Result allocate_like(const DLTensor& tensor) {
  TVMValue v;
  if (TVMArrayAlloc(tensor.shape, tensor.ndim, tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes, kDLCPU, 0,
                    &v.v_handle) != 0) {
    throw Error(last_tvm_error());
  }
  return Result(v, kNDArrayHandle);
}

}  // namespace

SharedOutputs::SharedOutputs(const std::vector<Variant>& variants, bool own) : variants_(variants) {
  const size_t n = variants_[0].outputs.size();
  for (size_t i = 0; i < n; ++i) {
    const auto index = static_cast<int64_t>(i);
    Result first = Arguments().add(index).call(executor_function(variants_[0].executor, "get_output"));
    const auto& tensor = *static_cast<const DLTensor*>(first.handle());
    if (tensor.device.device_type != kDLCPU) {
      throw Error("output " + std::to_string(i) + " is not on the CPU, so variants can't share it");
    }
    if (own && variants_[0].outputs[i] != OutputLink::kInput) {
      first = allocate_like(tensor);
    }
    outputs_.push_back(std::move(first));
    targets_.push_back(outputs_.back().handle());
    redirected_.push_back(own);
    link(i);
  }
}

// Lets the variants write output `i` to its target, if their executors can.
void SharedOutputs::link(size_t i) {
  for (size_t v = redirected_[i] ? 0 : 1; v < variants_.size(); ++v) {
    if (variants_[v].outputs[i] == OutputLink::kWritten) {
      Arguments()
          .add(static_cast<int64_t>(i))
          .add(targets_[i], kNDArrayHandle)
          .call(executor_function(variants_[v].executor, "set_output_zero_copy"));
    }
  }
}

void SharedOutputs::copy_from(size_t v) const {
  for (size_t i = 0; i < targets_.size(); ++i) {
    if (variants_[v].outputs[i] == OutputLink::kCopied && (v > 0 || redirected_[i])) {
      Arguments()
          .add(static_cast<int64_t>(i))
          .add(targets_[i], kDLTensorHandle)
          .call(executor_function(variants_[v].executor, "get_output"));
    }
  }
}

int SharedOutputs::redirect(TVMValue* args, int* codes, int n) {
  const size_t i = index_from(args, codes, n);
  if (n < 2 || (codes[1] != kNDArrayHandle && codes[1] != kDLTensorHandle)) {
    throw Error("set_output_zero_copy takes an output's index and an array");
  }
  // The first executor checks the array; if it rejects it, nothing has changed.
  Arguments()
      .add(args[0].v_int64)
      .add(args[1].v_handle, codes[1])
      .call(executor_function(variants_[0].executor, "set_output_zero_copy"));
  targets_[i] = args[1].v_handle;
  redirected_[i] = true;
  link(i);
  return 0;
}

int SharedOutputs::get(TVMValue* args, int* codes, int n, void* ret) const {
  const size_t i = index_from(args, codes, n);
  TVMValue value;
  value.v_handle = outputs_[i].handle();
  if (n == 1) {
    return return_value(ret, value, kNDArrayHandle);
  }
  if (TVMArrayCopyFromTo(value.v_handle, args[1].v_handle, nullptr) != 0) {
    throw Error(last_tvm_error());
  }
  return 0;
}

size_t SharedOutputs::index_from(const TVMValue* args, const int* codes, int n) const {
  if (n < 1 || codes[0] != kInt || args[0].v_int64 < 0 || static_cast<size_t>(args[0].v_int64) >= outputs_.size()) {
    throw Error("the module has " + std::to_string(outputs_.size()) + " outputs: give the index of one");
  }
  return static_cast<size_t>(args[0].v_int64);
}

}  // namespace coexec
