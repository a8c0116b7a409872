// Device memory. A tensor's data pointer is an address inside a Region in every memory mode, so views, interior
// pointers, copies and aliases are plain address arithmetic:
//
//   buffer   cl_mem allocated by the driver; the address range is reserved without access rights (CPU access faults)
//   hostptr  page-aligned host memory wrapped by CL_MEM_USE_HOST_PTR; the host must map it before access
//   coarse   clSVMAlloc; the host must map it before access
//   fine     clSVMAlloc, fine-grained: the host may access it whenever no command uses it
//
// Each region records the commands that last wrote its ranges, and those that have read it since. Only these order
// commands of different queues, and a download waits for the writers only.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "../cl/device.h"

namespace coexec {

// kOverwrite: a write that ignores failures of earlier commands.
enum class Access { kRead, kWrite, kOverwrite };

// As a number of bytes: up to the end of the region. (Zero bytes: a tensor without elements.)
constexpr size_t kToEnd = static_cast<size_t>(-1);

size_t page_bytes();  // of the host's memory: 4 kB, 16 kB or 64 kB

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

  // Callers of all functions below hold `mu`. Several regions are locked in order of address.
  std::mutex mu;
  // Adds to the list the commands for which an access on `queue` (null: by the host) to `n` bytes at `offset` must
  // wait.
  void order(Access access, const Queue* queue, WaitList* list, size_t offset = 0, size_t n = kToEnd) const;
  void record(Access access, const Event& event, size_t offset = 0, size_t n = kToEnd);
  void record_host_write(size_t offset, size_t n);  // call when every command that uses the range has ended
  cl_mem mem_at(size_t offset);                     // the buffer, or a cached sub-buffer from that offset on
  // Host mappings that outlive a call (aliased storage, coarse and hostptr). While a range is mapped for reading,
  // kernels may read it; while it is mapped for writing, only the host may access it.
  bool is_host_mapped(size_t offset, size_t n, bool to_write) const;
  void map_for_host(size_t offset, size_t n,
                    bool to_write);         // blocks until the writers (to write: and readers) have ended
  void unmap(Queue& queue, Access access);  // unmaps what must not be mapped during a command with this access
  // Memory that an executor has planned for both devices. The host writes to it without notifying the runtime, so a
  // failure in one run does not affect the next; and it is mapped for reading unless the host requests write access
  // (map_for_host_write).
  bool planned = false;
  // Ends a run with an error in such memory: waits for its commands, because the next run relies on an idle device, and
  // marks the failures as reported.
  void end_run() noexcept;
  // An early download in flight: destination, source range, and event.
  struct Fetch {
    void* to;
    size_t offset, bytes;
    Event done;
  };
  std::vector<Fetch> fetches;
  // Enqueues a mapping of a range and returns its address, which the host may access when *ready has ended.
  char* map(cl_bitfield flags, size_t offset, size_t n, const WaitList& after, Event* ready);
  Event unmap_at(Queue& queue, char* address);
  void unmap_quietly(char* address) noexcept;  // after a failed mapping: unmaps, waits, ignores errors

 private:
  void drain() noexcept;  // waits for every command that uses the region, ignoring errors
  void release() noexcept;
  size_t reserved_ = 0;
  size_t end_of(size_t offset, size_t n) const { return n == kToEnd ? bytes : offset + n; }
  void remove_range(size_t begin, size_t end);
  struct Write {
    size_t begin, end;
    Event event;
  };
  std::vector<Write> writes_;   // last writers by range; the ranges do not overlap
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
