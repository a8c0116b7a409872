#include "adaptive_module.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>

#include "../cl/cl_error.h"
#include "../exec/trace.h"
#include "../exec/variant_policy.h"
#include "../exec/variant_stats.h"
#include "packed.h"

namespace coexec {
namespace {

using namespace tvm_abi;

Ref executor_function(const Result& executor, const char* name) {
  Ref f = module_function(executor.handle(), name);
  if (!f.get()) {
    throw Error("TVM's graph executor has no function " + std::string(name));
  }
  return f;
}

class AdaptiveModule;

// State of a packed function; keeps the module alive.
struct Bound {
  Ref module;
  std::function<int(TVMValue*, int*, int, void*)> call;
};

int call_bound(TVMValue* args, int* codes, int n, void* ret, void* self) {
  return guarded([&] { return static_cast<const Bound*>(self)->call(args, codes, n, ret); });
}

class AdaptiveModule final : public ModuleNode {
 public:
  AdaptiveModule(std::vector<Variant> variants, AdaptiveInputs inputs, bool own_outputs, std::string weight_bytes)
      : variants_(std::move(variants)),
        arguments_(std::move(inputs.arguments)),
        inputs_(std::move(inputs.inputs)),
        weight_bytes_(std::move(weight_bytes)),
        policy_(variants_.size()) {
    type_index = coexec::type_index("runtime.Module");
    ref_count = 1;
    deleter = [](Object* o) { delete static_cast<AdaptiveModule*>(o); };
    share_inputs();
    share_outputs(own_outputs);
    warm_up();
  }

  const char* type_key() const override { return "coexec.adaptive"; }

  Ref GetFunction(const Ref& name, const Ref& self) override {
    const std::string wanted = to_std(name);
    if (wanted == "run") {
      return bind(self, [this](TVMValue*, int*, int, void*) { return run(); });
    }
    if (wanted == "set_input_zero_copy") {
      return bind(self, [this](TVMValue* a, int* c, int n, void*) { return set_input_zero_copy(a, c, n); });
    }
    if (wanted == "set_output_zero_copy") {
      return bind(self, [this](TVMValue* a, int* c, int n, void*) { return set_output_zero_copy(a, c, n); });
    }
    if (wanted == "get_output") {
      return bind(self, [this](TVMValue* a, int* c, int n, void* ret) { return get_output(a, c, n, ret); });
    }
    if (wanted == "run_from_inputs") {
      return bind(self, [this](TVMValue* a, int* c, int n, void*) { return run_from_inputs(a, c, n); });
    }
    if (wanted == "stats") {
      return bind(self, [this](TVMValue*, int*, int, void* ret) { return return_string(ret, stats()); });
    }
    if (wanted == "use") {
      return bind(self, [this](TVMValue* a, int* c, int n, void*) { return use(a, c, n); });
    }
    if (wanted == "load_params" || wanted == "share_params") {
      return bind(self, [](TVMValue*, int*, int, void*) -> int {
        throw Error(
            "the weights of an adaptive module can't be replaced, because its variants share them: create the module "
            "without adaptive");
      });
    }
    for (const char* same : {"set_input", "get_input", "get_num_outputs", "get_num_inputs", "get_input_index",
                             "get_input_info"}) {
      if (wanted == same) {
        return executor_function(variants_[0].executor, same);
      }
    }
    return Ref();
  }

  void SaveToFile(const Ref&, const Ref&) override { throw Error("an executor can't be saved: export the library"); }
  void SaveToBinary(Stream*) override { throw Error("an executor can't be exported: export the library"); }
  Ref GetSource(const Ref&) override { return make_string(""); }
  Ref GetFormat() override { return make_string("coexec"); }
  int GetPropertyMask() const override { return kRunnable; }
  bool ImplementsFunction(const Ref& name, bool) override { return GetFunction(name, Ref()).get() != nullptr; }

 private:
  static Ref bind(const Ref& self, std::function<int(TVMValue*, int*, int, void*)> call) {
    auto bound = std::make_unique<Bound>(Bound{self, std::move(call)});
    void* f = nullptr;
    if (TVMFuncCreateFromCFunc(call_bound, bound.get(), [](void* p) { delete static_cast<Bound*>(p); }, &f) != 0) {
      throw Error("TVM can't create a function: " + last_tvm_error());
    }
    bound.release();
    return Ref(f);
  }

  Result get_input(const std::string& name) const {
    return Arguments().add(name).call(executor_function(variants_[0].executor, "get_input"));
  }

  // All variants read the inputs of the first one.
  void share_inputs() {
    for (const std::string& name : inputs_) {
      const Result value = get_input(name);
      for (size_t v = 1; v < variants_.size(); ++v) {
        Arguments().add(name).add(value).call(executor_function(variants_[v].executor, "set_input_zero_copy"));
      }
    }
  }

  // All variants write the outputs of the first one, or arrays of our own where that may be mapped only at times.
  void share_outputs(bool own) {
    const size_t n = variants_[0].outputs.size();
    for (size_t i = 0; i < n; ++i) {
      const auto index = static_cast<int64_t>(i);
      Result first = Arguments().add(index).call(executor_function(variants_[0].executor, "get_output"));
      const auto& tensor = *static_cast<const DLTensor*>(first.handle());
      if (tensor.device.device_type != kDLCPU) {
        throw Error("output " + std::to_string(i) + " is not on the CPU, so variants can't share it");
      }
      if (own && variants_[0].outputs[i] != OutputLink::kInput) {
        void* out = nullptr;
        if (TVMArrayAlloc(tensor.shape, tensor.ndim, tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes, kDLCPU,
                          0, &out) != 0) {
          throw Error(last_tvm_error());
        }
        TVMValue v;
        v.v_handle = out;
        first = Result(v, kNDArrayHandle);
      }
      outputs_.push_back(std::move(first));
      targets_.push_back(outputs_.back().handle());
      redirected_.push_back(own);
      link(i);
    }
  }

  // Lets the variants write output `i` to its target, if their executors can.
  void link(size_t i) {
    for (size_t v = redirected_[i] ? 0 : 1; v < variants_.size(); ++v) {
      if (variants_[v].outputs[i] == OutputLink::kWritten) {
        Arguments()
            .add(static_cast<int64_t>(i))
            .add(targets_[i], kNDArrayHandle)
            .call(executor_function(variants_[v].executor, "set_output_zero_copy"));
      }
    }
  }

  void copy_outputs(size_t v) {
    for (size_t i = 0; i < targets_.size(); ++i) {
      if (variants_[v].outputs[i] == OutputLink::kCopied && (v > 0 || redirected_[i])) {
        Arguments()
            .add(static_cast<int64_t>(i))
            .add(targets_[i], kDLTensorHandle)
            .call(executor_function(variants_[v].executor, "get_output"));
      }
    }
  }

  void run_variant(size_t v) {
    Arguments().call(variants_[v].run);
    copy_outputs(v);
  }

  // Zeros are valid indices, which garbage is not.
  void warm_up() {
    for (const std::string& name : inputs_) {
      const Result value = get_input(name);
      const auto& tensor = *static_cast<const DLTensor*>(value.handle());
      if (tensor.device.device_type == kDLCPU) {
        std::memset(static_cast<char*>(tensor.data) + tensor.byte_offset, 0, tensor_bytes(tensor));
      }
    }
    for (size_t v = variants_.size(); v-- > 0;) {
      run_variant(v);  // compiles what is left to compile
      for (double spent_s = 0; spent_s < VariantPolicy::kWindowS;) {
        const int64_t begin_ns = host_ns();
        run_variant(v);
        const double seconds = 1e-9 * static_cast<double>(std::max<int64_t>(host_ns() - begin_ns, 1));
        policy_.record(v, seconds);
        spent_s += seconds;
      }
    }
    policy_.choose_first();
  }

  int run() {
    const size_t v = policy_.next();
    const int64_t begin_ns = host_ns();
    run_variant(v);
    const int64_t end_ns = host_ns();
    if (Trace::on()) {
      Trace::get().add({SpanKind::kVariant, -1, begin_ns, end_ns, 0, variants_[v].span});
    }
    policy_.record(v, 1e-9 * static_cast<double>(std::max<int64_t>(end_ns - begin_ns, 1)));
    return 0;
  }

  // The name of an input given by name or index.
  std::string input_name(const TVMValue* args, const int* codes, int n) const {
    if (n < 2) {
      throw Error("an input's name or index, and an array, are needed");
    }
    if (codes[0] == kInt && args[0].v_int64 >= 0 && static_cast<size_t>(args[0].v_int64) < arguments_.size()) {
      return arguments_[static_cast<size_t>(args[0].v_int64)];
    }
    if (codes[0] == kStr) {
      return args[0].v_str;
    }
    if (codes[0] == kObjectHandle) {
      TVMObjectRetain(args[0].v_handle);
      return to_std(Ref(args[0].v_handle));
    }
    throw Error("the module has no such input");
  }

  int set_input_zero_copy(TVMValue* args, int* codes, int n) {
    const std::string name = input_name(args, codes, n);
    if (std::find(inputs_.begin(), inputs_.end(), name) == inputs_.end()) {
      throw Error("'" + name + "' is no input of the module that can be replaced; its inputs are " + all_inputs());
    }
    for (const Variant& v : variants_) {
      Arguments().add(name).add(args[1].v_handle, codes[1]).call(executor_function(v.executor, "set_input_zero_copy"));
    }
    return 0;
  }

  std::string all_inputs() const {
    std::string names;
    for (const std::string& name : inputs_) {
      names += (names.empty() ? "" : ", ") + name;
    }
    return names;
  }

  size_t output_index(const TVMValue* args, const int* codes, int n) const {
    if (n < 1 || codes[0] != kInt || args[0].v_int64 < 0 ||
        static_cast<size_t>(args[0].v_int64) >= outputs_.size()) {
      throw Error("the module has " + std::to_string(outputs_.size()) + " outputs: give the index of one");
    }
    return static_cast<size_t>(args[0].v_int64);
  }

  int set_output_zero_copy(TVMValue* args, int* codes, int n) {
    const size_t i = output_index(args, codes, n);
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

  int get_output(TVMValue* args, int* codes, int n, void* ret) const {
    const size_t i = output_index(args, codes, n);
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

  // (device type, device id, input name, array, ...): for end-to-end benchmarks
  int run_from_inputs(TVMValue* args, int* codes, int n) {
    const Ref set_input = executor_function(variants_[0].executor, "set_input");
    for (int i = 2; i + 1 < n; i += 2) {
      Arguments().add(args[i].v_handle, codes[i]).add(args[i + 1].v_handle, codes[i + 1]).call(set_input);
    }
    return run();
  }

  int use(TVMValue* args, int* codes, int n) {
    if (n != 1 || codes[0] != kStr) {
      throw Error("use takes the name of a variant, or an empty one");
    }
    const std::string wanted = args[0].v_str;
    std::string names;
    for (size_t v = 0; v < variants_.size(); ++v) {
      if (variants_[v].name == wanted) {
        policy_.pin(v);
        return 0;
      }
      names += (names.empty() ? "" : ", ") + variants_[v].name;
    }
    if (!wanted.empty()) {
      throw Error("the module has no variant '" + wanted + "'; use one of " + names);
    }
    policy_.pin(VariantPolicy::kNone);
    return 0;
  }

  std::string stats() const {
    std::vector<std::string> names;
    for (const Variant& v : variants_) {
      names.push_back(v.name);
    }
    return policy_json(policy_, names, weight_bytes_);
  }

  const std::vector<Variant> variants_;  // the first one is the library's own program
  const std::vector<std::string> arguments_, inputs_;  // of that: inputs and weights by index; inputs only
  const std::string weight_bytes_;
  VariantPolicy policy_;
  std::vector<Result> outputs_;  // what get_output returns
  std::vector<void*> targets_;   // where outputs are written: these, or the caller's arrays
  std::vector<bool> redirected_;  // whether that is not the first variant's own array
};

}  // namespace

Result make_adaptive_module(std::vector<Variant> variants, AdaptiveInputs inputs, bool own_outputs,
                            std::string weight_bytes) {
  auto* made = new AdaptiveModule(std::move(variants), std::move(inputs), own_outputs, std::move(weight_bytes));
  TVMValue value;
  value.v_handle = static_cast<Object*>(made);
  return Result(value, kModuleHandle);
}

}  // namespace coexec
