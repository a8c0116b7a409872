// Kernels of a compiled module: their metadata, their programs on each device, and their launches.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "region.h"
#include "scalar.h"

namespace coexec {

// Metadata that TVM stores for each kernel.
struct FunctionInfo {
  std::string name;  // may be empty: the key under which it is stored is the kernel's name
  std::vector<DType> arg_types;
  std::vector<std::string> launch_tags;  // blockIdx.x, threadIdx.y, ...
};

struct Argument {
  bool is_float = false;
  int64_t i = 0;
  double f = 0;
  void* address = nullptr;  // for handles; null if none was passed
};

// Sizes of the tensors at the addresses that kernels launched by this thread get, while this object lives. Without them
// an argument extends to the end of its region, so tensors that share a region would wait for each other.
class ArgumentSizes {
 public:
  using Known = std::vector<std::pair<const void*, size_t>>;
  explicit ArgumentSizes(const Known& known);
  ~ArgumentSizes();
  ArgumentSizes(const ArgumentSizes&) = delete;
  static size_t of(const void* address);  // kToEnd: unknown

 private:
  const Known* const before_;
};

class Kernel {
 public:
  // Of OpenCL C, or of WGSL for Vulkan. Error for launch tags that kernels can't have.
  Kernel(const std::string& name, const FunctionInfo& info, std::string source, Api api = Api::kOpenCL);
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  const std::string name;
  const FunctionInfo info;
  const Api api;
  size_t n_args() const { return info.arg_types.size(); }
  size_t n_values() const { return info.arg_types.size() + info.launch_tags.size(); }

  // Enqueues the kernel on the device of its buffers, in the calling thread's stream there. `args` has n_args()
  // entries, `extents` one number per launch tag.
  void launch(const Argument* args, const int64_t* extents);

 private:
  struct Built {
    cl_program program = nullptr;
    cl_kernel kernel = nullptr;
    std::mutex mu;  // held while arguments are set and the kernel is enqueued: clSetKernelArg is not thread-safe
  };
  Built& build_on(Device& device);
  void set_arguments(const ClApi& driver, cl_kernel kernel, const Argument* args,
                     const std::vector<RegionPtr>& regions);
  // `work`: blockIdx.xyz and threadIdx.xyz; `global`: their products; `begin_ns`: 0 without a trace.
  Event enqueue(Device& device, const Argument* args, const std::vector<RegionPtr>& regions, const size_t* work,
                const size_t* global, int64_t begin_ns);
  std::vector<RegionPtr> find_regions(const Argument* args) const;

  const std::string source_;
  const std::shared_ptr<const std::string> label_, shared_name_;
  std::vector<int> grid_index_;  // launch tag -> 0..2 blockIdx.xyz, 3..5 threadIdx.xyz
  cl_uint dimensions_ = 1;
  std::vector<Access> access_;  // by argument; known once the kernel is built
  std::mutex mu_;
  std::map<int, std::unique_ptr<Built>> built_;  // by the device's slot
};

}  // namespace coexec
