#include "workspace_pool.h"

#include <vector>

namespace coexec {
namespace {

constexpr size_t kKeepWorkspaceBytes = 128u << 20;
constexpr size_t kAlignment = 128;

}  // namespace

WorkspacePool& WorkspacePool::of(const Device& device) {
  static std::vector<WorkspacePool>& all = *new std::vector<WorkspacePool>(kMaxSlots);
  WorkspacePool& pool = all[device.slot];
  std::lock_guard<std::mutex> lock(pool.mu_);
  pool.device_ = &device_in_slot(device.slot);
  return pool;
}

void* WorkspacePool::take(size_t bytes) {
  {
    std::lock_guard<std::mutex> lock(mu_);
    const auto it = free_.lower_bound(bytes);
    if (it != free_.end() && it->first / 2 <= bytes) {
      void* base = it->second;
      free_bytes_ -= it->first;
      free_.erase(it);
      return base;
    }
  }
  return allocate_region(*device_, bytes, kAlignment)->base;
}

void WorkspacePool::give_back(void* base) noexcept {
  const RegionPtr region = find_region(base);
  if (!region || region->base != base) {
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mu_);
    if (free_bytes_ + region->bytes <= kKeepWorkspaceBytes) {
      free_bytes_ += region->bytes;
      free_.emplace(region->bytes, base);
      return;
    }
  }
  free_region(base);
}

}  // namespace coexec
