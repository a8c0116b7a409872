// Device memory. A tensor's data pointer is an address inside a Region in every memory mode, so views, interior
// pointers, copies and aliases are plain address arithmetic:
//
//   buffer   cl_mem allocated by the driver; the address is a reserved range without access (a stray CPU access faults)
//   hostptr  page-aligned host memory wrapped by CL_MEM_USE_HOST_PTR; the host must map it before access
//   coarse   clSVMAlloc; the host must map it before access
//   fine     clSVMAlloc, fine-grained: the host may access it whenever no command uses it
//
// Each region records the commands that last wrote its ranges and those that have read it since. They are the only
// ordering between the device's queues, and what a download waits for.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "../cl/device.h"

namespace coexec {

// kOverwrite: a write that ignores failures of earlier commands.
enum class Access { kRead, kWrite, kOverwrite };

// As a number of bytes: up to the end of the memory. Zero bytes are a tensor without elements.
constexpr size_t kToEnd = static_cast<size_t>(-1);

class Region {
 public:
  Region(Device& device, size_t bytes, size_t alignment);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  Device& device;
  const MemoryMode mode;
  char* base = nullptr;
  size_t bytes = 0;
  cl_mem mem = nullptr;  // buffer and hostptr

  size_t offset(const void* p) const { return static_cast<size_t>(static_cast<const char*>(p) - base); }

  // All functions below require `mu`. Several regions are locked in the order of their addresses.
  std::mutex mu;
  // Adds the commands that one with this access on `queue` (null: the host) to `n` bytes from `offset` must wait for.
  void order(Access access, const Queue* queue, WaitList* list, size_t offset = 0, size_t n = kToEnd) const;
  void record(Access access, const Event& event, size_t offset = 0, size_t n = kToEnd);
  void written_by_host(size_t offset, size_t n);  // call when every command that uses the range has ended
  cl_mem mem_at(size_t offset);  // the buffer itself, or a cached sub-buffer that begins there
  // Host mappings that outlive a call (aliased storage, coarse and hostptr). While a range is mapped for reading,
  // kernels may read it; while it is mapped for writing, only the host may access it.
  bool host_mapped(size_t offset, size_t n, bool to_write) const;
  void map_for_host(size_t offset, size_t n, bool to_write);  // blocks until the writers (and readers) are done
  void unmap(Queue& queue, Access access);  // unmaps what must not be mapped during a command with this access
  // Memory planned for an executor on both devices. The host writes to it without notifying the runtime, so the failure
  // of one run says nothing about the content in the next; and memory is mapped for reading unless the host requests
  // write access (give_to_host).
  bool laid_out = false;
  // After a run that ended with an error in such memory: waits for its commands, because the next run relies on an idle
  // device, and marks the failure as reported.
  void end_run() noexcept;
  // A download in flight: destination, source range, and the event that ends it.
  struct Fetch {
    void* to;
    size_t offset, bytes;
    Event done;
  };
  std::vector<Fetch> fetches;
  // Maps a range for the host and returns its address; wait for *ready (after the writer) before accessing it.
  char* map(cl_bitfield flags, size_t offset, size_t n, const WaitList& after, Event* ready);
  Event unmap_at(Queue& queue, char* address);
  void unmap_quietly(char* address) noexcept;  // after a failed map; waits

 private:
  void drain() noexcept;  // waits for every command that uses the region, ignoring errors
  void release() noexcept;
  size_t reserved_ = 0;
  size_t end_of(size_t offset, size_t n) const { return n == kToEnd ? bytes : offset + n; }
  void cut_out(size_t begin, size_t end);
  struct Write {
    size_t begin, end;
    Event event;
  };
  std::vector<Write> writes_;  // last writers by range; the ranges do not overlap
  std::vector<Event> readers_;  // the last reader of each queue since the last write
  std::map<size_t, cl_mem> sub_;
  struct Mapping {
    size_t bytes;
    bool to_write;
  };
  std::map<size_t, Mapping> mapped_;
};

using RegionPtr = std::shared_ptr<Region>;

// All live regions of the process.
RegionPtr allocate_region(Device& device, size_t bytes, size_t alignment);
RegionPtr find_region(const void* address);  // null: not device memory
void free_region(const void* base) noexcept;

}  // namespace coexec
