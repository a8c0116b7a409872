#include "traced_module.h"

#include "../cl/cl_error.h"
#include "../exec/trace.h"
#include "packed.h"

namespace coexec {
namespace {

using namespace tvm_abi;

// State of a packed function; the module keeps the function's code loaded.
struct Bound {
  Ref function, module;
  std::shared_ptr<const std::string> name;
  int node;
};

int call_bound(TVMValue* values, int* codes, int n, void* ret, void* self) {
  const auto& bound = *static_cast<const Bound*>(self);
  TVMValue out{};
  int out_code = kNull;
  if (!Trace::on()) {
    const int rc = TVMFuncCall(bound.function.get(), values, codes, n, &out, &out_code);
    return rc != 0 ? rc : forward_result(ret, out, out_code);
  }
  return guarded([&] {
    const NodeScope scope(bound.node);
    const int64_t begin_ns = host_ns();
    const int rc = TVMFuncCall(bound.function.get(), values, codes, n, &out, &out_code);
    Trace::get().add({SpanKind::kCall, -1, begin_ns, host_ns(), 0, bound.name});
    return rc != 0 ? rc : forward_result(ret, out, out_code);  // TVM stores the message of an error
  });
}

class TracedModule final : public ModuleNode {
 public:
  TracedModule(Object* wrapped, std::vector<std::string> names) : names_(std::move(names)) {
    type_index = coexec::type_index("runtime.Module");
    ref_count = 1;
    deleter = [](Object* o) { delete static_cast<TracedModule*>(o); };
    TVMObjectRetain(wrapped);
    wrapped_ = Ref(wrapped);
  }

  const char* type_key() const override { return "coexec.traced"; }

  Ref GetFunction(const Ref& name, const Ref&) override {
    const std::string wanted = to_std(name);
    void* found = nullptr;
    if (TVMModGetFunction(wrapped_.get(), wanted.c_str(), 1, &found) != 0) {
      throw Error(last_tvm_error());
    }
    Ref function(found);
    if (!found) {
      return Ref();
    }
    const size_t next = next_ < names_.size() ? next_ : 0;  // after the last name: another executor
    if (names_.empty() || names_[next] != wanted) {
      return function;
    }
    next_ = next + 1;
    auto bound = std::make_unique<Bound>(
        Bound{std::move(function), wrapped_, std::make_shared<const std::string>(wanted), static_cast<int>(next)});
    void* f = nullptr;
    if (TVMFuncCreateFromCFunc(call_bound, bound.get(), [](void* p) { delete static_cast<Bound*>(p); }, &f) != 0) {
      throw Error("TVM can't create a function that traces '" + wanted + "': " + last_tvm_error());
    }
    bound.release();
    return Ref(f);
  }

  void SaveToFile(const Ref&, const Ref&) override { throw Error("a traced module can't be saved: save the module"); }
  void SaveToBinary(Stream*) override { throw Error("a traced module can't be exported: export the module"); }
  Ref GetSource(const Ref&) override { return make_string(""); }
  Ref GetFormat() override { return make_string(""); }
  int GetPropertyMask() const override { return kRunnable; }
  bool ImplementsFunction(const Ref& name, bool) override {
    return static_cast<ModuleNode*>(static_cast<Object*>(wrapped_.get()))->ImplementsFunction(name, true);
  }

 private:
  Ref wrapped_;
  const std::vector<std::string> names_;
  size_t next_ = 0;
};

}  // namespace

Object* make_traced_module(Object* wrapped, std::vector<std::string> names) {
  return new TracedModule(wrapped, std::move(names));
}

}  // namespace coexec
