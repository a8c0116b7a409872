// Host memory for uploads that wait for the device.
#pragma once
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

  // A block of at least `bytes`, or an empty one if too much is in flight (then the caller waits).
  Block take(size_t bytes);
  // The block is in use until `done` has ended.
  void in_flight(Block block, Event done);

 private:
  void reap();
  std::mutex mu_;
  std::vector<std::pair<Block, Event>> busy_;
  std::vector<Block> free_;
  size_t busy_bytes_ = 0, free_bytes_ = 0;
};

}  // namespace coexec
