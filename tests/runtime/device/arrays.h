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

// The API whose first device is tested: TVM_COEXEC_TEST_API=vulkan, or OpenCL.
inline Api tested_api() {
  const char *text = std::getenv("TVM_COEXEC_TEST_API");
  return text && std::string(text) == "vulkan" ? Api::kVulkan : Api::kOpenCL;
}

inline Device &device() { return Workspace::get(tested_api()).device(0); }

// How messages name an error, given as OpenCL's code; Vulkan's are lower by
// 20000.
inline std::string name_of(cl_int code) {
  return error_name(tested_api() == Api::kOpenCL ? code : code - 20000);
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

  Endpoint endpoint() const { return {base, device().slot}; }
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

inline DType pointer() { return {DTypeCode::kHandle, 64, 1}; }

// A kernel of 32 work-items in a work-group, each of which computes `result` of
// element i of its inputs a, b, ... after `rounds` of work.
inline Kernel elementwise(const std::string &name, const std::string &inputs,
                          const std::string &result, int rounds,
                          const std::string &extra = "") {
  const bool opencl = tested_api() == Api::kOpenCL;
  const FunctionInfo info{name,
                          std::vector<DType>(inputs.size() + 1, pointer()),
                          {"blockIdx.x", "threadIdx.x"}};
  std::string parameters;
  for (size_t i = 0; i <= inputs.size(); ++i) {
    const std::string array =
        i < inputs.size() ? std::string(1, inputs[i]) : "out";
    if (opencl) {
      parameters += (i ? ", __global float* " : "__global float* ") + array;
    } else {
      parameters += "@group(0) @binding(" + std::to_string(i) +
                    ") var<storage, " +
                    (i < inputs.size() ? "read" : "read_write") + "> " + array +
                    " : array<f32>;\n";
    }
  }
  if (opencl) {
    return Kernel(name, info,
                  "__kernel void " + name + "(" + parameters + ") {\n" + extra +
                      "  int i = get_global_id(0);\n  float x = 0.0f;\n  for "
                      "(int r = 0; r < " +
                      busy(rounds) +
                      "; ++r) { x = x * 0.5f + sin(x); }\n  out[i] = " +
                      result + " + (x > 100.0f ? 1.0f : 0.0f);\n}\n");
  }
  return Kernel(
      name, info,
      extra + parameters +
          "\nstruct PODArgs {\n  packGridDimX: u32\n}\n@group(0) @binding(" +
          std::to_string(inputs.size() + 1) +
          ") var<uniform> podArgs : PODArgs;\n@compute @workgroup_size(32, 1, "
          "1)\nfn " +
          name +
          "(@builtin(workgroup_id) blockIdx : vec3<u32>, "
          "@builtin(num_workgroups) gridDim : vec3<u32>, "
          "@builtin(local_invocation_id) threadIdx : vec3<u32>) {\n"
          "  let g = blockIdx.z * gridDim.x + blockIdx.x;\n  if (g > "
          "podArgs.packGridDimX) { return; }\n"
          "  let i = g * 32u + threadIdx.x;\n  var x : f32 = 0.0;\n  for (var "
          "r : i32 = 0; r < " +
          busy(rounds) + "; r++) { x = x * 0.5 + sin(x); }\n  out[i] = " +
          result + " + select(0.0, 1.0, x > 100.0);\n}\n",
      Api::kVulkan);
}

// c = a + b, with a little work so that commands are in flight while others are enqueued.
class Add {
 public:
   explicit Add(const std::string &name = "add", const std::string &extra = "")
       : kernel_(elementwise(name, "ab", "a[i] + b[i]", 200, extra)) {}
   void operator()(const Array &a, const Array &b, const Array &c) {
     Argument args[3];
     const Array *const arrays[] = {&a, &b, &c};
     for (int i = 0; i < 3; ++i) {
       args[i].address = arrays[i]->base;
     }
     const int64_t grid[] = {static_cast<int64_t>(c.n / 32), 32};
     kernel_.launch(args, grid);
  }

private:
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
