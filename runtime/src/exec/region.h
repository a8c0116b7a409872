// Device memory. A tensor's data pointer is always an address inside a Region, whatever the memory mode, so views,
// pointers into the middle, copies and aliases are all plain address arithmetic:
//   buffer   cl_mem of the driver's own; the address is a reserved range that nobody can touch (a stray access by the
//   CPU faults) hostptr  page-aligned host memory wrapped by CL_MEM_USE_HOST_PTR; the host must map before it looks
//   coarse   clSVMAlloc; the host must map before it looks
//   fine     clSVMAlloc, fine-grained: the host may look whenever no command is using it
// Each region knows the commands that wrote its parts last and those that have read it since: that is all the order there
// is between the device's queues, and what a download waits for.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "../cl/device.h"

namespace coexec {

// kOverwrite: a write that doesn't care whether earlier commands went well.
enum class Access { kRead, kWrite, kOverwrite };

// A number of bytes: all up to the end of the memory. Zero bytes are a tensor without elements.
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

  // All below need `mu` held. Where several regions are locked: in the order of their addresses.
  std::mutex mu;
  // Adds what a command with that access on `queue` must wait for; a null queue is the host. The command uses `n` bytes
  // from `offset` on.
  void order(Access access, const Queue* queue, WaitList* list, size_t offset = 0, size_t n = kToEnd) const;
  void record(Access access, const Event& event, size_t offset = 0, size_t n = kToEnd);
  void written_by_host(size_t offset, size_t n);  // with every command that uses it ended: there is nothing to wait for
  cl_mem mem_at(size_t offset);  // the buffer itself, or a cached sub-buffer that begins there
  // Host mappings that outlive a call (aliased storage, coarse and hostptr). Mapped for reading, kernels may go on
  // reading; mapped for writing, the range is the host's alone.
  bool host_mapped(size_t offset, size_t n, bool to_write) const;
  void map_for_host(size_t offset, size_t n, bool to_write);  // blocks until the writers (and readers) are done
  void unmap(Queue& queue, Access access);  // gives the device what a command with that access must not find mapped
  // The memory of an executor that was laid out for both devices. The host writes into it without telling anybody, so a
  // failure that a run has ended with says nothing about what is there in the next; and what is handed over to the host
  // is for reading: who wants to write asks for it (give_to_host).
  bool laid_out = false;
  // Where a run ends with an error in such memory: what it has launched comes to its end now, not in the next run, which
  // counts on the device's having nothing to do; and nobody hears of the failure again.
  void end_run() noexcept;
  // A download on its way: where to, how much of what, and what ends it.
  struct Fetch {
    void* to;
    size_t offset, bytes;
    Event done;
  };
  std::vector<Fetch> fetches;
  // One mapped look by the host: returns the address; wait for *ready (after the writer) before touching it.
  char* map(cl_bitfield flags, size_t offset, size_t n, const WaitList& after, Event* ready);
  Event unmap_at(Queue& queue, char* address);
  void unmap_quietly(char* address) noexcept;  // after a map that went wrong; waits

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
  std::vector<Write> writes_;  // who wrote what last; they don't overlap
  std::vector<Event> readers_;  // since everything was written last, the last one of each queue
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
