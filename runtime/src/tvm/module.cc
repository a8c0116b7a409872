#include "module.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "../cl/cl_error.h"
#include "../exec/kernel_source.h"
#include "packed.h"

namespace coexec {
namespace {

using namespace tvm_abi;

struct MemoryStream final : Stream {
  std::string bytes;
  size_t at = 0;
  size_t Read(void* to, size_t n) override {
    n = std::min(n, bytes.size() - at);
    std::memcpy(to, bytes.data() + at, n);
    at += n;
    return n;
  }
  size_t Write(const void* from, size_t n) override {
    bytes.append(static_cast<const char*>(from), n);
    return n;
  }
};

// ---- the serialised form ----
// str format; u64 n; n x {str key; str name; u64 + DLDataType[]; u64 + str[] launch tags}; str source
constexpr uint64_t kMaxCount = 1u << 20;     // of functions, arguments, tags
constexpr uint64_t kMaxString = 1ull << 31;  // bytes

struct Reader {
  Stream* stream;
  Api api;
  const char* language() const { return api == Api::kOpenCL ? "OpenCL" : "WGSL"; }
};

void read_bytes(const Reader& s, void* to, size_t n) {
  size_t got = 0;
  try {
    got = s.stream->Read(to, n);
  } catch (const std::exception&) {  // some of TVM's streams throw instead of returning less
  }
  if (got != n) {
    throw Error("the data of the " + std::string(s.language()) + " module is truncated: export the model again");
  }
}

template <class T>
T read(const Reader& s) {
  T value;
  read_bytes(s, &value, sizeof value);
  return value;
}

uint64_t read_count(const Reader& s, uint64_t limit) {
  const uint64_t n = read<uint64_t>(s);
  if (n > limit) {
    throw Error("the data of the " + std::string(s.language()) +
                " module is damaged, or of another version of TVM: export the model again");
  }
  return n;
}

std::string read_string(const Reader& s) {
  const uint64_t n = read_count(s, kMaxString);
  std::string text;
  while (text.size() < n) {  // in pieces, so that a damaged length does not cause a huge allocation
    const size_t piece = std::min<size_t>(n - text.size(), 1 << 20), had = text.size();
    text.resize(had + piece);
    read_bytes(s, &text[had], piece);
  }
  return text;
}

template <class T>
void write(Stream* s, const T& value) {
  s->Write(&value, sizeof value);
}

void write_string(Stream* s, const std::string& text) {
  write<uint64_t>(s, text.size());
  s->Write(text.data(), text.size());
}

FunctionInfo read_info(const Reader& s) {
  FunctionInfo info;
  info.name = read_string(s);
  for (uint64_t n = read_count(s, kMaxCount); n > 0; --n) {
    const DLDataType t = read<DLDataType>(s);
    info.arg_types.push_back({static_cast<DTypeCode>(t.code), t.bits, t.lanes});
  }
  for (uint64_t n = read_count(s, kMaxCount); n > 0; --n) {
    info.launch_tags.push_back(read_string(s));
  }
  return info;
}

void write_info(Stream* s, const FunctionInfo& info) {
  write_string(s, info.name);
  write<uint64_t>(s, info.arg_types.size());
  for (const DType& t : info.arg_types) {
    write(s, DLDataType{static_cast<uint8_t>(t.code), t.bits, t.lanes});
  }
  write<uint64_t>(s, info.launch_tags.size());
  for (const std::string& tag : info.launch_tags) {
    write_string(s, tag);
  }
}

// ---- calls ----
Argument to_argument(const TVMValue& value, int code) {
  Argument a;
  switch (code) {
    case kFloat:
      a.is_float = true;
      a.f = value.v_float64;
      break;
    case kNull:
      break;
    case kDLTensorHandle:
    case kNDArrayHandle: {  // a direct call; compiled host functions pass the data pointer
      const auto* t = static_cast<const DLTensor*>(value.v_handle);
      a.address = static_cast<char*>(t->data) + t->byte_offset;
      break;
    }
    default:
      a.i = value.v_int64;
      a.address = value.v_handle;
  }
  return a;
}

int call(Kernel& kernel, const TVMValue* values, const int* codes, int n) {
  if (static_cast<size_t>(n) != kernel.n_values()) {
    throw Error("kernel '" + kernel.name + "' takes " + std::to_string(kernel.n_args()) + " arguments and " +
                std::to_string(kernel.info.launch_tags.size()) + " grid sizes, but was called with " +
                std::to_string(n) + " values");
  }
  std::vector<Argument> args(kernel.n_args());
  for (size_t i = 0; i < args.size(); ++i) {
    args[i] = to_argument(values[i], codes[i]);
  }
  std::vector<int64_t> extents(kernel.info.launch_tags.size());
  for (size_t i = 0; i < extents.size(); ++i) {
    extents[i] = values[args.size() + i].v_int64;
  }
  kernel.launch(args.data(), extents.data());
  return 0;
}

// State of a packed function: the kernel, and the module to keep it alive.
struct Bound {
  Kernel* kernel;
  Ref module;
};

int call_bound(TVMValue* values, int* codes, int n, void*, void* self) {
  return guarded([&] { return call(*static_cast<Bound*>(self)->kernel, values, codes, n); });
}

const char* format_of(Api api) {
  return api == Api::kOpenCL ? "cl" : "wgsl";
}

class GpuModule final : public ModuleNode {
 public:
  GpuModule(Api api, std::vector<std::pair<std::string, FunctionInfo>> infos, std::string source)
      : api_(api), source_(std::move(source)) {
    type_index = coexec::type_index("runtime.Module");
    ref_count = 1;
    deleter = [](Object* o) { delete static_cast<GpuModule*>(o); };
    const auto parts = split_kernels(source_);
    for (auto& entry : infos) {
      const auto part = parts.find(entry.first);
      kernels_[entry.first] =
          std::make_unique<Kernel>(entry.first, entry.second, part == parts.end() ? source_ : part->second, api);
    }
  }

  const char* type_key() const override { return api_ == Api::kOpenCL ? "opencl" : "wgsl"; }

  Ref GetFunction(const Ref& name, const Ref& self) override {
    const auto it = kernels_.find(to_std(name));
    if (it == kernels_.end()) {
      return Ref();
    }
    auto bound = std::make_unique<Bound>(Bound{it->second.get(), self});
    void* f = nullptr;
    if (TVMFuncCreateFromCFunc(call_bound, bound.get(), [](void* p) { delete static_cast<Bound*>(p); }, &f) != 0) {
      throw Error("TVM can't create a function for kernel '" + it->first + "': " + last_tvm_error());
    }
    bound.release();
    return Ref(f);
  }

  void SaveToFile(const Ref& file, const Ref&) override {
    throw Error(std::string(api_ == Api::kOpenCL ? "an OpenCL" : "a WGSL") + " module can't be saved to '" +
                to_std(file) + "' alone: use export_library of the whole module");
  }

  void SaveToBinary(Stream* s) override {
    write_string(s, format_of(api_));
    write<uint64_t>(s, kernels_.size());
    for (const auto& entry : kernels_) {
      write_string(s, entry.first);
      write_info(s, entry.second->info);
    }
    write_string(s, source_);
  }

  Ref GetSource(const Ref&) override { return make_string(source_); }
  Ref GetFormat() override { return make_string(format_of(api_)); }
  int GetPropertyMask() const override { return kBinarySerializable | kRunnable; }

  bool ImplementsFunction(const Ref& name, bool query_imports) override {
    if (kernels_.count(to_std(name)) != 0) {
      return true;
    }
    return query_imports && std::any_of(imports_.begin(), imports_.end(), [&](const Ref& m) {
             return static_cast<ModuleNode*>(static_cast<Object*>(m.get()))->ImplementsFunction(name, true);
           });
  }

 private:
  const Api api_;
  const std::string source_;
  std::map<std::string, std::unique_ptr<Kernel>> kernels_;
};

}  // namespace

Object* load_module(Api api, Stream* stream) {
  const Reader s{stream, api};
  const std::string format = read_string(s);
  if (format != format_of(api)) {
    throw Error("a module in format '" + format.substr(0, 20) + "' can't be loaded for " + api_title(api) + ", only '" +
                format_of(api) + "'");
  }
  std::vector<std::pair<std::string, FunctionInfo>> infos;
  for (uint64_t n = read_count(s, kMaxCount); n > 0; --n) {
    std::string key = read_string(s);
    infos.emplace_back(std::move(key), read_info(s));
  }
  return new GpuModule(api, std::move(infos), read_string(s));
}

Object* convert_module(Object* source_module) {
  MemoryStream blob;
  static_cast<ModuleNode*>(source_module)->SaveToBinary(&blob);
  return load_module(Api::kOpenCL, &blob);
}

Object* make_source_module(Api api, const std::vector<std::pair<FunctionInfo, std::string>>& kernels) {
  std::vector<std::pair<std::string, FunctionInfo>> infos;
  std::string source;
  for (const auto& [info, text] : kernels) {
    infos.emplace_back(info.name, info);
    source += "// Function: " + info.name + "\n" + text + "\n";
  }
  return new GpuModule(api, std::move(infos), source);
}

Object* make_empty_module() {
  return new GpuModule(Api::kOpenCL, {}, "");
}

}  // namespace coexec
