#include "weights.h"

#include <cstring>

#include "../cl/cl_error.h"
#include "host_view.h"
#include "packed.h"

namespace coexec {
namespace {

using namespace tvm_abi;

const int64_t kCpu = -1;           // among the numbers of devices
const int64_t kPieceAlignment = 128;  // as executor/weights.py has it

std::string joined_names(const Pieces& pieces) {
  std::string names;
  for (const std::string& piece : pieces) {
    names += piece + '\n';
  }
  return names;
}

const DLTensor& tensor(const Result& array) {
  return *static_cast<const DLTensor*>(array.handle());
}

const char* data_of(const Result& array) {
  return static_cast<const char*>(tensor(array).data) + tensor(array).byte_offset;
}

}  // namespace

Result allocate_bytes(int64_t bytes, DLDevice device) {
  void* out = nullptr;
  if (TVMArrayAlloc(&bytes, 1, 1, 8, 1, device.device_type, device.device_id, &out) != 0) {
    throw Error(last_tvm_error());
  }
  TVMValue v;
  v.v_handle = out;
  return Result(v, kNDArrayHandle);
}

Result Weights::stored(const std::string& name) const {
  const Ref key = make_string(name);
  return Arguments().add(params_).add(key.get(), kObjectHandle).call(global_function("runtime.MapGetItem"));
}

Result Weights::view(const Place& place) const {
  auto* block = static_cast<DLTensor*>(place.block->handle());
  const bool on_cpu = block->device.device_type == kDLCPU;
  TVMValue v;
  v.v_handle = make_storage_view(block, place.offset, place.bytes, on_cpu);
  return Result(v, kNDArrayHandle);
}

// A block holds a weight, and so each of its pieces.
void Weights::keep(int64_t device, const Pieces& pieces, const std::shared_ptr<const Result>& block, int64_t bytes) {
  places_.insert({{device, joined_names(pieces)}, {block, 0, bytes}});
  int64_t offset = 0;
  for (const std::string& piece : pieces) {
    const auto n = static_cast<int64_t>(tensor_bytes(tensor(stored(piece))));
    if (pieces.size() > 1 && offset % kPieceAlignment == 0 && offset + n <= bytes) {
      places_.insert({{device, joined_names({piece})}, {block, offset, n}});
    }
    offset += n;
  }
}

Result Weights::on_cpu(const Pieces& pieces) {
  const auto found = places_.find({kCpu, joined_names(pieces)});
  if (found != places_.end()) {
    return view(found->second);
  }
  if (pieces.size() == 1) {
    return stored(pieces[0]);
  }
  std::vector<Result> parts;
  int64_t bytes = 0;
  for (const std::string& piece : pieces) {
    parts.push_back(stored(piece));
    bytes += static_cast<int64_t>(tensor_bytes(tensor(parts.back())));
  }
  const auto block = std::make_shared<const Result>(allocate_bytes(bytes, {kDLCPU, 0}));
  auto* at = static_cast<char*>(tensor(*block).data);
  for (const Result& part : parts) {
    const size_t n = tensor_bytes(tensor(part));
    std::memcpy(at, data_of(part), n);
    at += n;
  }
  keep(kCpu, pieces, block, bytes);
  return view(places_.at({kCpu, joined_names(pieces)}));
}

Result Weights::on_device(const Pieces& pieces, int64_t bytes, DLDevice device, bool* is_new) {
  const int64_t number = (int64_t{device.device_type} << 32) + device.device_id;
  const auto found = places_.find({number, joined_names(pieces)});
  *is_new = found == places_.end() || found->second.bytes != bytes;
  if (!*is_new) {
    return view(found->second);
  }
  const auto block = std::make_shared<const Result>(allocate_bytes(bytes, device));
  keep(number, pieces, block, bytes);
  return view({block, 0, bytes});
}

}  // namespace coexec
