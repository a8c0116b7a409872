// Waits for kernels that write shared memory, by the method with the shortest delay on the device.
#pragma once
#include <atomic>
#include <mutex>
#include <string>

#include "region.h"

namespace coexec {

class Signals {
 public:
  static Signals& of(Device& device);

  // The wait method of this device: the user's, or else the fastest one, which the first call measures.
  WaitMethod method();
  // Median seconds from the launch of a short kernel until the host has noticed its end, including the host's
  // additional work, by each method that works on this device. JSON: {"method": ..., "event": s, "poll": s, "flag": s}.
  std::string measured_json();

  // Enqueues a kernel that sets the flag after the commands that have written `n` bytes at `offset`; no-op without
  // flags.
  void signal(Region& region, size_t offset, size_t n);
  // Waits for a command; Error that names it if it failed.
  void wait(const Event& event);

 private:
  struct Flag;
  bool works(WaitMethod method) const;
  double measure_wait_seconds(WaitMethod method);
  void measure();
  void enqueue_flag_after(const Event& event);
  void wait_by(WaitMethod method, const Event& event);
  bool has_ended(WaitMethod method, const Event& event, uint32_t number) const;
  Flag& flag();

  Device* device_ = nullptr;
  std::mutex measuring_;
  std::mutex mu_;  // numbers are assigned in the queue's order
  std::atomic<WaitMethod> method_{WaitMethod::kAuto};
  std::atomic<Flag*> flag_{nullptr};
  double seconds_[4] = {0, 0, 0, 0};  // by method; 0: does not work on this device
};

}  // namespace coexec
