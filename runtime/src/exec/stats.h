// Counters, for tests and reports.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>

namespace coexec {

struct Stats {
  std::atomic<uint64_t> launches{0};
  std::atomic<uint64_t> uploads{0}, upload_bytes{0};
  std::atomic<uint64_t> uploads_staged{0};  // through staging memory, because a command was running
  std::atomic<uint64_t> downloads{0}, download_bytes{0};
  std::atomic<uint64_t> device_copies{0}, device_copy_bytes{0};
  std::atomic<uint64_t> copies_elided{0};  // source and destination were the same memory
  std::atomic<uint64_t> programs_built{0}, cache_hits{0}, cache_misses{0}, cache_damaged{0};
  std::atomic<int64_t> allocations{0}, live_bytes{0}, peak_bytes{0};

  static Stats& get();
  void count_allocation(int64_t bytes);  // negative: freed
  std::string json() const;
  void reset();  // all counters except those of live memory
};

}  // namespace coexec
