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
#include "shared_outputs.h"

namespace coexec {

using namespace tvm_abi;

Ref executor_function(const Result& executor, const char* name) {
  Ref f = module_function(executor.handle(), name);
  if (!f.get()) {
    throw Error("TVM's graph executor has no function " + std::string(name));
  }
  return f;
}

namespace {

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
        policy_(variants_.size()),
        outputs_(variants_, own_outputs) {
    type_index = coexec::type_index("runtime.Module");
    ref_count = 1;
    deleter = [](Object* o) { delete static_cast<AdaptiveModule*>(o); };
    share_inputs();
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
      return bind(self, [this](TVMValue* a, int* c, int n, void*) { return outputs_.redirect(a, c, n); });
    }
    if (wanted == "get_output") {
      return bind(self, [this](TVMValue* a, int* c, int n, void* ret) { return outputs_.get(a, c, n, ret); });
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

  void run_variant(size_t v) {
    Arguments().call(variants_[v].run);
    outputs_.copy_from(v);
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
  SharedOutputs outputs_;
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
