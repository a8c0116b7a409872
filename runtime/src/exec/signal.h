// Waits for a kernel with the least delay that the device allows, in memory that both sides share.
#pragma once
#include <atomic>
#include <mutex>
#include <string>

#include "region.h"

namespace coexec {

class Signals {
 public:
  static Signals& of(Device& device);

  // The wait method of this device: the user's choice, by default the fastest one as measured at the first call.
  WaitMethod method();
  // Seconds from a short kernel's launch until the host has noticed its end, including the host's extra work, by every
  // method that works on this device; the median of several runs. JSON: {"method": ..., "event": s, "poll": s, "flag":
  // s}.
  std::string measured_json();

  // Enqueues the setting of the flag after all commands that wrote `n` bytes at `offset` so far; no-op without flags.
  void signal(Region& region, size_t offset, size_t n);
  // Waits for a command; throws an Error that names it if it failed.
  void wait(const Event& event);

 private:
  struct Flag;
  bool works(WaitMethod method) const;
  double seconds_until_noticed(WaitMethod method);
  void measure();
  void set_flag_behind(const Event& event);
  void wait_by(WaitMethod method, const Event& event);
  bool ended(WaitMethod method, const Event& event, uint32_t number) const;
  Flag& flag();

  Device* device_ = nullptr;
  std::mutex measuring_;
  std::mutex mu_;  // numbers are assigned in the queue's order
  std::atomic<WaitMethod> method_{WaitMethod::kAuto};
  std::atomic<Flag*> flag_{nullptr};
  double seconds_[4] = {0, 0, 0, 0};  // by method; 0: does not work on this device
};

}  // namespace coexec
