// Arrays and kernels for the tests of cl/ and exec/ on a real device, without TVM.
#pragma once
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "cl/cl_error.h"
#include "cl/device.h"
#include "cl/faults.h"
#include "exec/copy.h"
#include "exec/kernel.h"
#include "exec/stats.h"

namespace coexec {

inline Device& device() {
  return Workspace::get().device(0);
}

inline int rounds(int few) {
  const char* text = std::getenv("TVM_COEXEC_STRESS");
  return few * (text ? std::max(1, std::atoi(text)) : 1);
}

// Iterations that keep a kernel busy for a while; TVM_COEXEC_WORK_PERCENT of them, for emulated processors.
inline std::string busy(int iterations) {
  const char* text = std::getenv("TVM_COEXEC_WORK_PERCENT");
  return std::to_string(std::max(1, iterations * (text ? std::atoi(text) : 100) / 100));
}

// Floats on the device.
struct Array {
  size_t n;
  char* base;

  explicit Array(size_t count) : n(count), base(allocate_region(device(), count * 4, 128)->base) {}
  Array(size_t count, float value) : Array(count) { fill(value); }
  Array(const Array&) = delete;
  ~Array() { free_region(base); }

  Endpoint endpoint() const { return {base, 0}; }
  Endpoint host_endpoint() const { return {base, -1}; }  // the same memory, as the host sees it
  void fill(float value) {
    const std::vector<float> values(n, value);
    copy({const_cast<float*>(values.data()), -1}, endpoint(), n * 4, nullptr);
  }
  std::vector<float> read() const {
    std::vector<float> values(n);
    copy(endpoint(), {values.data(), -1}, n * 4, nullptr);
    return values;
  }
  void copy_to(Array& other) const { copy(endpoint(), other.endpoint(), n * 4, nullptr); }
};

inline bool all_equal(const std::vector<float>& values, float wanted) {
  for (const float v : values) {
    if (v != wanted) {
      return false;
    }
  }
  return true;
}

// c = a + b, with a little work so that commands are in flight while others are enqueued.
class Add {
 public:
  explicit Add(const std::string& name = "add", const std::string& extra = "")
      : kernel_(name, {name, {pointer(), pointer(), pointer()}, {"blockIdx.x", "threadIdx.x"}},
                "__kernel void " + name + "(__global float* a, __global float* b, __global float* c) {\n" + extra +
                    "  int i = get_global_id(0);\n  float x = 0.0f;\n"
                    "  for (int r = 0; r < " +
                    busy(200) +
                    "; ++r) { x = x * 0.5f + sin(x); }\n"
                    "  c[i] = a[i] + b[i] + (x > 100.0f ? 1.0f : 0.0f);\n}\n") {}
  void operator()(const Array& a, const Array& b, const Array& c) {
    Argument args[3];
    const Array* const arrays[] = {&a, &b, &c};
    for (int i = 0; i < 3; ++i) {
      args[i].address = arrays[i]->base;
    }
    const int64_t grid[] = {static_cast<int64_t>(c.n / 32), 32};
    kernel_.launch(args, grid);
  }

 private:
  static DType pointer() { return {DTypeCode::kHandle, 64, 1}; }
  Kernel kernel_;
};

// Nothing fails or waits any longer when it goes.
struct Faults {
  ~Faults() {
    faults::clear();
    try {
      device().sync(nullptr);
    } catch (const Error&) {
    }
  }
};

inline int64_t live_bytes() {
  return Stats::get().live_bytes;
}

}  // namespace coexec
