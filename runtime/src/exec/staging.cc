#include "staging.h"

#include <algorithm>

namespace coexec {
namespace {

constexpr size_t kKeepStagedBytes = 64u << 20;  // of free blocks; the rest is returned to the system

}  // namespace

Staging& Staging::of(const Device& device) {
  // Never destroyed or resized, as the list of devices; hence no lock.
  static std::vector<Staging>& all = *new std::vector<Staging>(kMaxSlots);
  Staging& s = all[device.slot];
  s.limit_bytes_ = device.options.staging_limit_bytes;
  return s;
}

Staging::Block Staging::take(size_t bytes) {
  std::lock_guard<std::mutex> lock(mu_);
  reap();
  if (busy_bytes_ + bytes > limit_bytes_) {
    return {};
  }
  // The smallest block that fits, unless more than half of it would be wasted.
  auto best = free_.end();
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->capacity >= bytes && it->capacity / 2 <= bytes && (best == free_.end() || it->capacity < best->capacity)) {
      best = it;
    }
  }
  if (best == free_.end()) {
    return {std::unique_ptr<char[]>(new char[bytes]), bytes};
  }
  Block block = std::move(*best);
  free_bytes_ -= block.capacity;
  free_.erase(best);
  return block;
}

void Staging::hold(Block block, Event done) {
  std::lock_guard<std::mutex> lock(mu_);
  busy_bytes_ += block.capacity;
  busy_.emplace_back(std::move(block), std::move(done));
}

void Staging::reap() {
  for (auto& entry : busy_) {
    if (!entry.second->has_ended()) {
      continue;
    }
    busy_bytes_ -= entry.first.capacity;
    entry.second.reset();
    if (free_bytes_ + entry.first.capacity <= kKeepStagedBytes) {
      free_bytes_ += entry.first.capacity;
      free_.push_back(std::move(entry.first));
    }
  }
  busy_.erase(std::remove_if(busy_.begin(), busy_.end(), [](const auto& e) { return !e.second; }), busy_.end());
}

}  // namespace coexec
