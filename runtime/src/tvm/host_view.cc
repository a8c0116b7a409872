#include "host_view.h"

#include <memory>

#include "../cl/cl_error.h"
#include "../exec/region.h"
#include "packed.h"

namespace coexec {
namespace {

using namespace tvm_abi;

struct View {
  DLManagedTensor managed;
  std::vector<int64_t> shape;
  RegionPtr region;  // not the array: the memory lives as long as either of them
};

}  // namespace

void* make_host_view(DLTensor* array) {
  const RegionPtr region = array->device.device_type == kDLOpenCL ? find_region(array->data) : nullptr;
  if (!region) {
    throw Error("a host view needs an array on an OpenCL device");
  }
  if (region->mode == MemoryMode::kBuffer) {
    throw Error("the memory of " + region->device.text() +
                " is not visible to the CPU (memory mode buffer; TVM_COEXEC_OPENCL_MEMORY chooses another where the "
                "device has one)");
  }
  auto view = std::make_unique<View>();
  view->shape.assign(array->shape, array->shape + array->ndim);
  view->region = region;
  view->managed.dl_tensor = *array;
  view->managed.dl_tensor.data = static_cast<char*>(array->data) + array->byte_offset;
  view->managed.dl_tensor.byte_offset = 0;
  view->managed.dl_tensor.device = {kDLCPU, 0};
  view->managed.dl_tensor.shape = view->shape.data();
  view->managed.dl_tensor.strides = nullptr;
  view->managed.manager_ctx = view.get();
  view->managed.deleter = [](DLManagedTensor* m) { delete static_cast<View*>(m->manager_ctx); };
  void* out = nullptr;
  if (TVMArrayFromDLPack(&view->managed, &out) != 0) {
    throw Error("TVM cannot make an array over OpenCL memory: " + last_tvm_error());
  }
  view.release();
  return out;
}

}  // namespace coexec
