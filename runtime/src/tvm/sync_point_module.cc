#include "sync_point_module.h"

#include "../cl/cl_error.h"
#include "../exec/copy.h"
#include "../exec/kernel.h"
#include "../exec/signal.h"
#include "gpu_api.h"
#include "module.h"
#include "packed.h"

namespace coexec {
namespace {

using namespace tvm_abi;

struct Piece {
  char* address;
  size_t bytes;
  DLDevice device;
};

Piece piece(const TVMValue* args, const int* codes, int i) {
  if (codes[i] != kDLTensorHandle && codes[i] != kNDArrayHandle) {
    throw Error("argument " + std::to_string(i) + " of a function at a sync point is not an array");
  }
  const auto* t = static_cast<const DLTensor*>(args[i].v_handle);
  return {static_cast<char*>(t->data) + t->byte_offset, tensor_bytes(*t), t->device};
}

Endpoint endpoint(const Piece& p) {
  return {p.address, slot_of(p.device)};
}

int join(TVMValue* args, int* codes, int n, void*, void*) {
  return guarded([&] {
    const Piece result = piece(args, codes, n - 1);
    char* at = result.address;
    for (int i = 0; i < n - 1; ++i) {
      const Piece part = piece(args, codes, i);
      if (part.address != at) {
        Piece to = result;
        to.address = at;
        copy(endpoint(part), endpoint(to), part.bytes, nullptr);
      }
      at += part.bytes;
    }
    return 0;
  });
}

RegionPtr region_of(const Piece& p) {
  RegionPtr region = find_region(p.address);
  if (!region) {
    throw Error("the array at a sync point is not memory of a device of this runtime");
  }
  return region;
}

int signal(TVMValue* args, int* codes, int, void*, void*) {
  return guarded([&] {
    const Piece p = piece(args, codes, 0);
    const RegionPtr region = region_of(p);
    Signals::of(region->device).signal(*region, region->offset(p.address), p.bytes);
    return 0;
  });
}

int map(TVMValue* args, int* codes, int n, void*, void*) {
  return guarded([&] {
    for (int i = 0; i < n; ++i) {
      const Piece p = piece(args, codes, i);
      const RegionPtr region = find_region(p.address);
      if (region) {  // otherwise it is the caller's memory
        map_for_host_write(*region, region->offset(p.address), p.bytes);
      }
    }
    return 0;
  });
}

int fetch(TVMValue* args, int* codes, int n, void*, void*) {
  return guarded([&] {
    const Piece from = piece(args, codes, 0), to = piece(args, codes, n - 1);
    const RegionPtr region = region_of(from);
    start_download(*region, region->offset(from.address), to.address, from.bytes);
    return 0;
  });
}

struct Named {
  const char* name;
  TVMPackedCFunc function;
};
const Named kFunctions[] = {
    {"coexec_join", join}, {"coexec_signal", signal}, {"coexec_map", map}, {"coexec_fetch", fetch}};

// State of a packed function; the module keeps the function's code loaded.
struct Bound {
  Ref function, module;
};

int call_bound(TVMValue* args, int* codes, int n, void* ret, void* self) {
  return guarded([&] {
    thread_local ArgumentSizes::Known tensors;
    tensors.clear();
    for (int i = 0; i < n; ++i) {
      if (codes[i] == kDLTensorHandle || codes[i] == kNDArrayHandle) {
        const Piece p = piece(args, codes, i);
        tensors.emplace_back(p.address, p.bytes);
      }
    }
    const ArgumentSizes scope(tensors);
    TVMValue out{};
    int code = kNull;
    const int rc = TVMFuncCall(static_cast<const Bound*>(self)->function.get(), args, codes, n, &out, &code);
    return rc != 0 ? rc : forward_result(ret, out, code);  // TVM stores the message of an error
  });
}

class SyncPointModule final : public ModuleNode {
 public:
  SyncPointModule(void* library, std::set<std::string> device_functions)
      : device_functions_(std::move(device_functions)) {
    TVMObjectRetain(library);
    library_ = Ref(library);
    type_index = coexec::type_index("runtime.Module");
    ref_count = 1;
    deleter = [](Object* o) { delete static_cast<SyncPointModule*>(o); };
  }

  const char* type_key() const override { return "coexec.sync_points"; }

  Ref GetFunction(const Ref& name, const Ref&) override {
    const std::string wanted = to_std(name);
    for (const Named& f : kFunctions) {
      if (wanted == f.name) {
        void* handle = nullptr;
        if (TVMFuncCreateFromCFunc(f.function, nullptr, nullptr, &handle) != 0) {
          throw Error("TVM can't create the function " + wanted + ": " + last_tvm_error());
        }
        return Ref(handle);
      }
    }
    if (device_functions_.count(wanted) == 0) {
      return Ref();  // TVM then queries the imported module
    }
    void* found = nullptr;
    if (TVMModGetFunction(library_.get(), wanted.c_str(), 1, &found) != 0) {
      throw Error(last_tvm_error());
    }
    if (!found) {
      return Ref();
    }
    auto bound = std::make_unique<Bound>(Bound{Ref(found), library_});
    void* f = nullptr;
    if (TVMFuncCreateFromCFunc(call_bound, bound.get(), [](void* p) { delete static_cast<Bound*>(p); }, &f) != 0) {
      throw Error("TVM can't create the function " + wanted + ": " + last_tvm_error());
    }
    bound.release();
    return Ref(f);
  }

  void SaveToFile(const Ref& file, const Ref&) override {
    throw Error("the module of an executor can't be saved to '" + to_std(file) + "': export the library instead");
  }
  void SaveToBinary(Stream*) override { throw Error("the module of an executor can't be saved: export the library"); }
  Ref GetSource(const Ref&) override { return make_string(""); }
  Ref GetFormat() override { return make_string("coexec"); }
  int GetPropertyMask() const override { return kRunnable; }
  bool ImplementsFunction(const Ref& name, bool query_imports) override {
    const std::string wanted = to_std(name);
    for (const Named& f : kFunctions) {
      if (wanted == f.name) {
        return true;
      }
    }
    for (const Ref& m : imports_) {
      if (query_imports && static_cast<ModuleNode*>(static_cast<Object*>(m.get()))->ImplementsFunction(name, true)) {
        return true;
      }
    }
    return false;
  }

 private:
  Ref library_;
  const std::set<std::string> device_functions_;
};

}  // namespace

Object* make_sync_point_module(void* library, std::set<std::string> device_functions) {
  auto* module = new SyncPointModule(library, std::move(device_functions));
  if (TVMModImport(static_cast<Object*>(module), library) != 0) {
    const std::string why = last_tvm_error();
    TVMObjectFree(static_cast<Object*>(module));
    throw Error("TVM can't import the compiled library into the module of the executor: " + why);
  }
  return module;
}

}  // namespace coexec
