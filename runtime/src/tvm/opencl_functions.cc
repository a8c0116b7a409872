#include "opencl_functions.h"

#include "device_api.h"
#include "module.h"
#include "packed.h"
#include "timer.h"

namespace coexec {
namespace {

using namespace tvm_abi;

int device_api(TVMValue*, int*, int, void* ret, void*) {
  TVMValue v;
  v.v_handle = device_api_of(Api::kOpenCL);
  return return_value(ret, v, kOpaqueHandle);
}

int load_binary(TVMValue* args, int*, int, void* ret, void*) {
  return guarded([&] {
    return return_object(ret, load_module(Api::kOpenCL, static_cast<Stream*>(args[0].v_handle)), kModuleHandle);
  });
}

void* code_generator() {  // TVM's own function; null in a libtvm that can't compile
  static void* const found = [] {
    void* f = nullptr;
    TVMFuncGetGlobal("target.build.opencl", &f);
    return f;
  }();
  return found;
}

int build(TVMValue* args, int* codes, int n, void* ret, void*) {
  return guarded([&] {
    TVMValue out;
    int out_code = 0;
    if (TVMFuncCall(code_generator(), args, codes, n, &out, &out_code) != 0) {
      return -1;  // TVM has the message
    }
    const Ref source(out.v_handle);
    return return_object(ret, convert_module(static_cast<Object*>(out.v_handle)), kModuleHandle);
  });
}

int timer(TVMValue* args, int*, int, void* ret, void*) {
  return guarded(
      [&] { return return_object(ret, make_timer(Api::kOpenCL, args[0].v_device.device_id), kObjectHandle); });
}

}  // namespace

const std::vector<OpenCLFunction>& opencl_functions() {
  static const auto& functions = *new std::vector<OpenCLFunction>([] {
    std::vector<OpenCLFunction> found{{"profiling.timer.opencl", timer, false},
                                      {"runtime.module.loadbinary_opencl", load_binary, true}};
    if (code_generator()) {
      found.push_back({"target.build.opencl", build, true});
    }
    found.push_back({"device_api.opencl", device_api, false});
    return found;
  }());
  return functions;
}

}  // namespace coexec
