// Host memory for the bytes of uploads that wait for the device.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "../cl/device.h"

namespace coexec {

class Staging {
 public:
  struct Block {
    std::unique_ptr<char[]> data;
    size_t capacity = 0;
  };

  static Staging& of(const Device& device);

  // A block of at least `bytes`; an empty one if the blocks in use would exceed the limit (then the caller waits).
  Block take(size_t bytes);
  // Keeps the block in use until `done` has ended.
  void hold(Block block, Event done);

 private:
  void reap();
  std::mutex mu_;
  std::vector<std::pair<Block, Event>> busy_;
  std::vector<Block> free_;
  size_t busy_bytes_ = 0, free_bytes_ = 0;
  std::atomic<size_t> limit_bytes_{0};
};

}  // namespace coexec
