// Times of single kernels, as the driver's profiling queue measures them.
#pragma once
#include <deque>
#include <mutex>
#include <string>

#include "../cl/event.h"

namespace coexec {

class Profile {
 public:
  static Profile& get();
  void add(const std::string& kernel, int device, Event event);
  // JSON: {"dropped": n, "kernels": [{"name", "device", "queued_ns", "start_ns", "end_ns"}, ...]} of everything
  // launched since the last call; waits for what still runs. Times are the device's clock.
  std::string take_json();

 private:
  struct Entry {
    std::string kernel;
    int device;
    Event event;
  };
  std::mutex mu_;
  std::deque<Entry> entries_;
  size_t dropped_ = 0;  // the oldest ones, beyond the limit
};

}  // namespace coexec
