// Waiting for a kernel with as little delay as the device allows, in memory that both sides see.
#pragma once
#include <atomic>
#include <mutex>
#include <string>

#include "region.h"

namespace coexec {

class Signals {
 public:
  static Signals& of(Device& device);

  // How this device is waited for: as the user says, else by what was the quickest when this was first asked for.
  WaitMethod method();
  // Seconds from a short kernel's launch until the host has noticed its end, by every method that works here, and what
  // it had to do for that besides; the median of some runs. JSON: {"method": ..., "event": s, "poll": s, "flag": s}.
  std::string measured_json();

  // Has the flag set behind everything that wrote `n` bytes at `offset` so far; nothing where flags aren't in use.
  void signal(Region& region, size_t offset, size_t n);
  // Waits for a command; Error that names it when it has failed.
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
  std::mutex mu_;  // numbers are given in the order in which the queue sees them
  std::atomic<WaitMethod> method_{WaitMethod::kAuto};
  std::atomic<Flag*> flag_{nullptr};
  double seconds_[4] = {0, 0, 0, 0};  // by method; 0: does not work here
};

}  // namespace coexec
