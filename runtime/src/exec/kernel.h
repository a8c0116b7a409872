// A compiled module's kernels: their metadata in TVM's blob, their programs on each device, and their launches.
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
  std::string name;  // may be empty: the key in the blob is the kernel's name
  std::vector<DType> arg_types;
  std::vector<std::string> launch_tags;  // blockIdx.x, threadIdx.y, ...
};

struct Argument {
  bool is_float = false;
  int64_t i = 0;
  double f = 0;
  void* address = nullptr;  // for handles; null if none was passed
};

// A kernel's arguments are addresses only. While this object lives, it gives the sizes of the tensors at these
// addresses in the calling thread: several tensors may share one region, and a kernel depends only on those that it
// uses.
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
  // Error for launch tags or argument types that OpenCL kernels cannot have.
  Kernel(const std::string& name, const FunctionInfo& info, std::string source);
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  const std::string name;
  const FunctionInfo info;
  size_t n_args() const { return info.arg_types.size(); }
  size_t n_values() const { return info.arg_types.size() + info.launch_tags.size(); }

  // `args` has n_args() entries, `extents` one number per launch tag. The kernel runs on the device of its buffers, in
  // the calling thread's stream there; the function returns as soon as the driver has accepted it.
  void launch(const Argument* args, const int64_t* extents);

 private:
  struct Built {
    cl_program program = nullptr;
    cl_kernel kernel = nullptr;
    std::mutex mu;  // setting arguments and enqueueing must not interleave between threads
  };
  Built& built(Device& device);
  void set_arguments(cl_kernel kernel, const Argument* args, const std::vector<RegionPtr>& regions);
  // The launch itself; `work` is blockIdx.xyz and threadIdx.xyz, `global` their products, `begin_ns` 0 without a trace.
  void enqueue(Device& device, const Argument* args, const std::vector<RegionPtr>& regions, const size_t* work,
               const size_t* global, int64_t begin_ns);
  std::vector<RegionPtr> find_regions(const Argument* args) const;

  const std::string source_;
  const std::shared_ptr<const std::string> label_, shared_name_;
  std::vector<int> grid_index_;  // launch tag -> 0..2 blockIdx.xyz, 3..5 threadIdx.xyz
  cl_uint dimensions_ = 1;
  std::vector<Access> access_;  // by argument; known once the kernel is built
  std::mutex mu_;
  std::map<int, std::unique_ptr<Built>> built_;  // by device
};

}  // namespace coexec
