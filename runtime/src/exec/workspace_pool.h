// Temporary device memory that compiled host code asks for between its kernels (sort, scan, nms, ...), kept for the
// next time.
#pragma once
#include <map>
#include <mutex>

#include "region.h"

namespace coexec {

class WorkspacePool {
 public:
  static WorkspacePool& of(const Device& device);

  void* take(size_t bytes);
  // At once reusable, also while kernels still use it: regions order the commands that touch them.
  void give_back(void* base) noexcept;

 private:
  Device* device_ = nullptr;
  std::mutex mu_;
  std::multimap<size_t, void*> free_;  // by size
  size_t free_bytes_ = 0;
};

}  // namespace coexec
