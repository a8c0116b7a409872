// A pool of temporary device memory, which compiled host code requests between its kernels (sort, scan, nms, ...).
#pragma once
#include <map>
#include <mutex>

#include "region.h"

namespace coexec {

class WorkspacePool {
 public:
  static WorkspacePool& of(const Device& device);

  void* take(size_t bytes);
  // The memory may be taken again at once, even while kernels use it: regions order the commands that access them.
  void give_back(void* base) noexcept;

 private:
  Device* device_ = nullptr;
  std::mutex mu_;
  std::multimap<size_t, void*> free_;  // by size
  size_t free_bytes_ = 0;
};

}  // namespace coexec
