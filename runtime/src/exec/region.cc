#include "region.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <shared_mutex>

#include "../cl/cl_error.h"
#include "stats.h"

namespace coexec {
namespace {

size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

std::string describe_allocation(const Device& d, size_t bytes) {
  return "allocating " + std::to_string(bytes) + " bytes on " + d.text() + " (memory mode " + d.memory_name() +
         ", largest allocation " + std::to_string(d.info.max_alloc_bytes) + " bytes)";
}

const std::shared_ptr<const std::string> kMapLabel = std::make_shared<const std::string>("mapping memory");
const std::shared_ptr<const std::string> kUnmapLabel = std::make_shared<const std::string>("unmapping memory");

}  // namespace

size_t page_bytes() {
  static const size_t n = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return n;
}

Region::Region(Device& d, size_t n, size_t alignment) : device(d), mode(d.memory()), bytes(std::max<size_t>(n, 1)) {
  cl_int code = CL_SUCCESS;
  switch (mode) {
    case MemoryMode::kFineSvm:
    case MemoryMode::kCoarseSvm: {
      // OpenCL's largest alignment is that of its largest type (long16).
      const cl_uint align = static_cast<cl_uint>(std::min<size_t>(std::max<size_t>(alignment, 64), 128));
      const cl_bitfield fine = mode == MemoryMode::kFineSvm ? cl_bitfield{CL_MEM_SVM_FINE_GRAIN_BUFFER} : 0;
      base = static_cast<char*>(d.driver().SVMAlloc(d.context(), CL_MEM_READ_WRITE | fine, bytes, align));
      if (!base) {
        raise(-4, describe_allocation(d, bytes));
      }
      break;
    }
    case MemoryMode::kHostPtr: {
      // Drivers copy instead of sharing unless address and size are multiples of the page size.
      reserved_ = round_up(bytes, page_bytes());
      void* p = nullptr;
      if (posix_memalign(&p, page_bytes(), reserved_) != 0) {
        raise(-6, describe_allocation(d, bytes));
      }
      base = static_cast<char*>(p);
      mem = d.driver().CreateBuffer(d.context(), CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, reserved_, p, &code);
      break;
    }
    default: {
      mem = d.driver().CreateBuffer(d.context(), CL_MEM_READ_WRITE, bytes, nullptr, &code);
      if (code == CL_SUCCESS) {
        reserved_ = round_up(bytes, page_bytes());
        void* p = mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        base = p == MAP_FAILED ? nullptr : static_cast<char*>(p);
        code = base ? CL_SUCCESS : -6;
      }
    }
  }
  if (code != CL_SUCCESS) {
    release();
    raise(code, describe_allocation(d, bytes));
  }
  Stats::get().count_allocation(static_cast<int64_t>(bytes));
}

Region::~Region() {
  // The driver keeps a cl_mem until its commands have ended, but not memory freed by free() or clSVMFree.
  if (mode != MemoryMode::kBuffer) {
    drain();
  }
  release();
  Stats::get().count_allocation(-static_cast<int64_t>(bytes));
}

void Region::release() noexcept {
  for (auto& entry : sub_) {
    device.driver().ReleaseMemObject(entry.second);
  }
  if (mem) {
    device.driver().ReleaseMemObject(mem);
  }
  if (!base) {
    return;
  }
  switch (mode) {
    case MemoryMode::kFineSvm:
    case MemoryMode::kCoarseSvm:
      device.driver().SVMFree(device.context(), base);
      break;
    case MemoryMode::kHostPtr:
      std::free(base);
      break;
    default:
      munmap(base, reserved_);
  }
}

void Region::order(Access access, const Queue* queue, WaitList* list, size_t offset, size_t n) const {
  const size_t end = end_of(offset, n);
  // A range whose write failed must not be read. A kernel that writes may read as well, but may overwrite the range
  // once the failure has been reported.
  const FailureFilter read = planned ? FailureFilter::kUnreported : FailureFilter::kAll;
  const FailureFilter filter = access == Access::kRead    ? read
                               : access == Access::kWrite ? std::min(read, FailureFilter::kUnreportedHere)
                                                          : FailureFilter::kNone;
  for (const Write& w : writes_) {
    if (w.begin < end && offset < w.end) {
      list->add(w.event, queue, filter);
    }
  }
  if (access != Access::kRead) {
    for (const Event& e : readers_) {
      list->add(e, queue, FailureFilter::kNone);
    }
  }
}

void Region::record(Access access, const Event& event, size_t offset, size_t n) {
  if (access != Access::kRead) {
    const size_t end = end_of(offset, n);
    if (end == offset) {
      return;
    }
    remove_range(offset, end);
    writes_.push_back({offset, end, event});
    if (offset == 0 && end >= bytes) {
      readers_.clear();
    }
    return;
  }
  for (Event& e : readers_) {
    if (e->queue == event->queue) {
      e = event;
      return;
    }
  }
  readers_.push_back(event);
}

void Region::remove_range(size_t begin, size_t end) {
  for (size_t i = 0; i < writes_.size();) {
    const Write w = writes_[i];
    if (w.end <= begin || w.begin >= end) {
      ++i;
      continue;
    }
    writes_[i] = writes_.back();
    writes_.pop_back();
    if (w.begin < begin) {
      writes_.push_back({w.begin, begin, w.event});
    }
    if (w.end > end) {
      writes_.push_back({end, w.end, w.event});
    }
  }
}

void Region::record_host_write(size_t offset, size_t n) {
  remove_range(offset, end_of(offset, n));
}

cl_mem Region::mem_at(size_t offset) {
  if (offset == 0) {
    return mem;
  }
  cl_mem& sub = sub_[offset];
  if (!sub) {
    cl_int code = CL_SUCCESS;
    const cl_buffer_region part{offset, (mode == MemoryMode::kHostPtr ? reserved_ : bytes) - offset};
    sub = device.driver().CreateSubBuffer(mem, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &part, &code);
    if (code != CL_SUCCESS) {
      sub_.erase(offset);
      raise(code, "creating a sub-buffer at byte offset " + std::to_string(offset) + " of a buffer of " +
                      device.text() + " (offsets must be multiples of " + std::to_string(device.info.base_align_bytes) +
                      " bytes)");
    }
  }
  return sub;
}

char* Region::map(cl_bitfield flags, size_t offset, size_t n, const WaitList& after, Event* ready) {
  Queue& queue = device.transfer();
  cl_event raw = nullptr;
  char* address = base + offset;
  if (mode == MemoryMode::kHostPtr) {
    cl_int code = CL_SUCCESS;
    void* p = device.driver().EnqueueMapBuffer(queue.handle, mem, kAsync, flags, offset, n, after.size(), after.data(),
                                               &raw, &code);
    check(code, [&] { return "mapping host-pointer memory of " + device.text() + " (clEnqueueMapBuffer)"; });
    if (p != address) {
      *ready = device.track(queue, raw, kMapLabel);
      (*ready)->wait();
      unmap_at(queue, static_cast<char*>(p));
      throw Error(device.text() + " maps host-pointer memory to another address: set TVM_COEXEC_OPENCL_MEMORY=buffer");
    }
  } else {
    check(device.driver().EnqueueSVMMap(queue.handle, kAsync, flags, address, n, after.size(), after.data(), &raw),
          [&] { return "mapping shared virtual memory of " + device.text() + " (clEnqueueSVMMap)"; });
  }
  *ready = device.track(queue, raw, kMapLabel, after.needs());
  return address;
}

Event Region::unmap_at(Queue& queue, char* address) {
  cl_event raw = nullptr;
  if (mode == MemoryMode::kHostPtr) {
    check(device.driver().EnqueueUnmapMemObject(queue.handle, mem, address, 0, nullptr, &raw),
          [&] { return "unmapping host-pointer memory of " + device.text() + " (clEnqueueUnmapMemObject)"; });
  } else {
    check(device.driver().EnqueueSVMUnmap(queue.handle, address, 0, nullptr, &raw),
          [&] { return "unmapping shared virtual memory of " + device.text() + " (clEnqueueSVMUnmap)"; });
  }
  return device.track(queue, raw, kUnmapLabel);
}

bool Region::is_host_mapped(size_t offset, size_t n, bool to_write) const {
  auto it = mapped_.upper_bound(offset);
  if (it == mapped_.begin()) {
    return false;
  }
  --it;
  return offset + n <= it->first + it->second.bytes && (it->second.to_write || !to_write);
}

void Region::map_for_host(size_t offset, size_t n, bool to_write) {
  if (to_write || mapped_.count(offset)) {
    unmap(device.transfer(), Access::kWrite);  // memory is mapped at most once
  }
  WaitList after;
  order(Access::kRead, &device.transfer(), &after, offset, n);  // a host that writes may also read
  if (to_write) {
    order(Access::kWrite, &device.transfer(), &after, offset, n);
  }
  Event ready;
  map(to_write ? CL_MAP_READ | CL_MAP_WRITE : CL_MAP_READ, offset, n, after, &ready);
  mapped_[offset] = {n, to_write};
  record(to_write ? Access::kWrite : Access::kRead, ready, offset, n);
  try {
    ready->wait();
  } catch (const Error&) {
    mapped_.erase(offset);
    unmap_quietly(base + offset);
    throw;
  }
}

void Region::unmap_quietly(char* address) noexcept {
  try {
    unmap_at(device.transfer(), address)->wait();
  } catch (const std::exception&) {
  }
}

void Region::unmap(Queue& queue, Access access) {
  for (auto m = mapped_.begin(); m != mapped_.end();) {
    if (access == Access::kRead && !m->second.to_write) {
      ++m;
      continue;
    }
    // if this throws, the mapping stays in the table
    const Event done = unmap_at(queue, base + m->first);
    record(m->second.to_write ? Access::kWrite : Access::kRead, done, m->first, m->second.bytes);
    m = mapped_.erase(m);
  }
}

void Region::end_run() noexcept {
  if (!planned) {
    return;
  }
  try {
    device.driver().Finish(device.current().handle);
    device.driver().Finish(device.transfer().handle);
    for (const Write& w : writes_) {
      if (const auto failure = w.event->failure()) {
        failure->report();
      }
    }
  } catch (const std::exception&) {
  }
}

void Region::drain() noexcept {
  std::lock_guard<std::mutex> lock(mu);
  try {
    if (!mapped_.empty()) {
      unmap(device.transfer(), Access::kWrite);
    }
  } catch (const std::exception&) {
  }
  for (const Write& w : writes_) {
    device.driver().WaitForEvents(1, &w.event->handle);
  }
  for (const Event& e : readers_) {
    device.driver().WaitForEvents(1, &e->handle);
  }
  writes_.clear();
  readers_.clear();
}

namespace {

// A region is registered by its address as long as it has an owner: views may outlive the array that was allocated.
struct Table {
  struct Row {
    std::weak_ptr<Region> region;
    const char* end;
    RegionPtr allocation;  // until TVM frees it
  };
  std::shared_mutex mu;
  std::map<const char*, Row> by_base;
};

Table& table() {
  static Table& t = *new Table();  // outlives every array
  return t;
}

// Removes the entry before the region is destroyed, because then its address may be reused.
void unregister(Region* region) noexcept {
  {
    Table& t = table();
    std::unique_lock<std::shared_mutex> lock(t.mu);
    t.by_base.erase(region->base);
  }
  delete region;
}

}  // namespace

RegionPtr allocate_region(Device& device, size_t bytes, size_t alignment) {
  const RegionPtr region(new Region(device, bytes, alignment), unregister);
  Table& t = table();
  std::unique_lock<std::shared_mutex> lock(t.mu);
  t.by_base[region->base] = {region, region->base + region->bytes, region};
  return region;
}

RegionPtr find_region(const void* address) {
  const char* p = static_cast<const char*>(address);
  Table& t = table();
  std::shared_lock<std::shared_mutex> lock(t.mu);
  auto it = t.by_base.upper_bound(p);
  if (it == t.by_base.begin()) {
    return nullptr;
  }
  --it;
  // Releasing the last reference takes the lock, so none may be released here.
  return p < it->second.end ? it->second.region.lock() : nullptr;
}

void free_region(const void* base) noexcept {
  RegionPtr region;
  {
    Table& t = table();
    std::unique_lock<std::shared_mutex> lock(t.mu);
    auto it = t.by_base.find(static_cast<const char*>(base));
    if (it == t.by_base.end()) {
      return;
    }
    region = std::move(it->second.allocation);
  }
}

}  // namespace coexec
