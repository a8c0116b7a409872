#include "host_view.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "../cl/cl_error.h"
#include "../exec/region.h"
#include "gpu_api.h"
#include "packed.h"

namespace coexec {
namespace {

using namespace tvm_abi;

struct View {
  DLManagedTensor managed;
  std::vector<int64_t> shape;
  // Keeps the memory alive, not the array.
  RegionPtr region;
  DLManagedTensor* owner = nullptr;

  ~View() {
    if (owner) {
      owner->deleter(owner);
    }
  }
};

RegionPtr region_of(DLTensor* array) {
  const RegionPtr region = api_of(array->device) ? find_region(array->data) : nullptr;
  if (!region) {
    throw Error("a host view needs an array on an OpenCL device");
  }
  return region;
}

void check_visible(const Region& region) {
  if (region.mode == MemoryMode::kBuffer) {
    throw Error("memory of " + region.device.text() + " is not visible to the CPU in memory mode buffer" +
                (region.device.api() == Api::kOpenCL
                     ? ": set TVM_COEXEC_OPENCL_MEMORY to a mode that the device supports"
                     : ""));
  }
}

void* wrap_array(std::unique_ptr<View> view) {
  view->managed.dl_tensor.shape = view->shape.data();
  view->managed.dl_tensor.strides = nullptr;
  view->managed.dl_tensor.byte_offset = 0;
  view->managed.manager_ctx = view.get();
  view->managed.deleter = [](DLManagedTensor* m) { delete static_cast<View*>(m->manager_ctx); };
  void* out = nullptr;
  if (TVMArrayFromDLPack(&view->managed, &out) != 0) {
    throw Error("TVM can't create an array over device memory: " + last_tvm_error());
  }
  view.release();
  return out;
}

}  // namespace

void* make_host_view(DLTensor* array) {
  auto view = std::make_unique<View>();
  view->region = region_of(array);
  check_visible(*view->region);
  view->shape.assign(array->shape, array->shape + array->ndim);
  view->managed.dl_tensor = *array;
  view->managed.dl_tensor.data = static_cast<char*>(array->data) + array->byte_offset;
  view->managed.dl_tensor.device = {kDLCPU, 0};
  return wrap_array(std::move(view));
}

void* make_storage_view(DLTensor* array, int64_t offset, int64_t nbytes, bool on_cpu) {
  const size_t have = tensor_bytes(*array);
  if (offset < 0 || nbytes < 0 || static_cast<size_t>(offset) + static_cast<size_t>(nbytes) > have) {
    throw Error("a view of " + std::to_string(nbytes) + " bytes at byte offset " + std::to_string(offset) +
                " extends past the end of its array of " + std::to_string(have) + " bytes");
  }
  auto view = std::make_unique<View>();
  view->managed.dl_tensor = *array;
  char* data = static_cast<char*>(array->data) + array->byte_offset + offset;
  if (array->device.device_type == kDLCPU) {
    if (TVMArrayToDLPack(array, &view->owner) != 0) {
      throw Error("TVM can't share an array through DLPack: " + last_tvm_error());
    }
  } else {
    view->region = region_of(array);
    if (on_cpu) {
      check_visible(*view->region);
      view->managed.dl_tensor.device = {kDLCPU, 0};
    }
    std::lock_guard<std::mutex> lock(view->region->mu);
    view->region->planned = true;
  }
  view->shape = {nbytes};
  view->managed.dl_tensor.data = data;
  view->managed.dl_tensor.ndim = 1;
  view->managed.dl_tensor.dtype = {1, 8, 1};
  return wrap_array(std::move(view));
}

void* make_host_block(int64_t nbytes, DLDevice gpu) {
  struct Block {
    DLManagedTensor managed;
    int64_t shape;
    Device* device;
  };
  auto block = std::make_unique<Block>();
  block->shape = nbytes;
  block->device = &device_in_slot(slot_of(gpu));
  void* data = nullptr;
  const size_t page = page_bytes();
  const size_t bytes = (static_cast<size_t>(std::max<int64_t>(nbytes, 1)) + page - 1) / page * page;
  if (nbytes < 0 || posix_memalign(&data, page, bytes) != 0) {
    throw Error("allocating " + std::to_string(nbytes) + " bytes of host memory failed");
  }
  block->managed.dl_tensor = {data, {kDLCPU, 0}, 1, {1, 8, 1}, &block->shape, nullptr, 0};
  block->managed.manager_ctx = block.get();
  block->managed.deleter = [](DLManagedTensor* m) {
    const auto* b = static_cast<Block*>(m->manager_ctx);
    b->device->drain_transfers();
    std::free(m->dl_tensor.data);
    delete b;
  };
  void* out = nullptr;
  if (TVMArrayFromDLPack(&block->managed, &out) != 0) {
    std::free(data);
    throw Error("TVM can't create an array over host memory: " + last_tvm_error());
  }
  block.release();
  return out;
}

}  // namespace coexec
