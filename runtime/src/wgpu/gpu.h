// A device of wgpu-native with its queue: submissions, what of them has ended, bytes read back, and its loss.
#pragma once
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../cl/cl_api.h"
#include "wgpu_api.h"

namespace coexec {
namespace wg {

// Error codes of this driver, below all of OpenCL's (cl_error.cc has their names).
enum : cl_int {
  kLost = -20002,
  kOutOfMemory = -20004,
  kRejected = -20005,
  kBuildFailed = -20011,
};

// wgpu-native reports an error to a callback, on the thread and within the call that causes it. `Attempt` collects what
// the calls in its scope report to this thread.
class Attempt {
 public:
  Attempt();
  ~Attempt();
  Attempt(const Attempt&) = delete;
  bool failed() const { return kind_ != 0; }
  const std::string& text() const { return text_; }
  cl_int code(
      cl_int otherwise = kRejected) const;  // CL_SUCCESS, kOutOfMemory or `otherwise`; leaves text() for raise()
  static void report(uint32_t kind, std::string text);

 private:
  Attempt* const before_;
  uint32_t kind_ = 0;
  std::string text_;
};

struct AdapterRecord {
  Adapter handle = nullptr;
  Limits limits{};
  std::string name, vendor, driver;
  uint32_t kind = 0, subgroup = 0;
  bool fp16 = false, timestamps = false;
};

std::vector<AdapterRecord> list_adapters();

// Bytes of the device on their way to the host: copied to a mappable buffer by a submission, then mapped.
struct ReadBack {
  Buffer staging = nullptr;
  size_t capacity = 0, length = 0;  // of the buffer, and of the part that is mapped
  size_t skip = 0, bytes = 0;       // the part of that which is wanted
  void* to = nullptr;
  std::atomic<int> state{0};  // 1: mapped, -1: failed
  std::mutex mu;
  bool succeeded = false;         // guarded by mu
  std::atomic<bool> done{false};  // the bytes are where they are wanted, or lost
};
using ReadBackPtr = std::shared_ptr<ReadBack>;

class Gpu {
 public:
  static std::shared_ptr<Gpu> open(const AdapterRecord& adapter, std::string* why);
  ~Gpu();
  Gpu(const Gpu&) = delete;

  Device device() const { return device_; }
  const Limits& limits() const { return limits_; }
  bool has_timestamps() const { return timestamps_; }
  double tick_ns() const { return tick_ns_; }
  bool is_lost() const { return lost_; }
  std::string why_lost() const;
  void note_lost(const std::string& why);  // called by wgpu-native's callback

  // The place of a command in the order of submissions. A write that waits for the next submission has none yet.
  struct Ticket {
    uint64_t index = 0, write = 0;
  };
  Ticket submit(Encoder encoder);  // ends and releases the encoder
  Ticket write(Buffer to, size_t offset, const void* from, size_t bytes);
  bool has_ended(const Ticket& ticket);
  void wait(const Ticket& ticket);
  void wait_for_all();

  // Adds a copy of `bytes` at `offset` (multiples of four) to the encoder; `map` it once that is submitted. Its bytes
  // are at r->to once a command after it is known to have ended, also if no one waits for this one.
  ReadBackPtr read_back(Encoder encoder, Buffer from, size_t offset, size_t bytes);
  void map(const ReadBackPtr& r, const Ticket& ticket);
  bool take(const ReadBackPtr& r);  // waits until it is mapped and copies the bytes to r->to; false if that failed

 private:
  Gpu() = default;
  uint64_t index_of(const Ticket& ticket);
  void take_until(uint64_t index);  // all bytes of submissions up to this one, which has ended
  static void on_lost(const Device*, uint32_t, StringView, void*, void*);
  static void on_error(const Device*, uint32_t, StringView, void*, void*);
  static void on_done(uint32_t, StringView, void*, void*);
  uint64_t submit_locked(size_t n, const CommandBuffer* commands);

  Device device_ = nullptr;
  GpuQueue queue_ = nullptr;
  Limits limits_{};
  bool timestamps_ = false;
  double tick_ns_ = 1;
  std::atomic<bool> lost_{false};
  std::atomic<uint64_t> ended_{0};  // the last submission that has ended

  mutable std::mutex mu_;  // also keeps submissions and their indices in one order
  std::string why_lost_;
  uint64_t submitted_ = 0;              // index of the last submission
  uint64_t writes_ = 0, flushed_ = 0;   // writes so far, and those that are submitted
  std::multimap<size_t, Buffer> free_;  // mappable buffers by capacity
  size_t free_bytes_ = 0;
  std::deque<std::pair<uint64_t, ReadBackPtr>> mapped_;  // by submission; not taken yet, as far as is known
};
using GpuPtr = std::shared_ptr<Gpu>;

}  // namespace wg
}  // namespace coexec
