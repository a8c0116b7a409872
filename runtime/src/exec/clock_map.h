// Converts times of a device's clock to the host's clock, with an error bound.
#pragma once
#include <cstdint>
#include <limits>

namespace coexec {

// Bounds of the offset (host clock - device clock), from commands that were enqueued after one reading of the host's
// clock and ended before the next.
struct ClockBounds {
  int64_t device_ns = 0;  // approximate time of the measurement, device clock
  int64_t lo_ns = std::numeric_limits<int64_t>::min();
  int64_t hi_ns = std::numeric_limits<int64_t>::max();

  // Tightens the bounds by one such command.
  void add(int64_t host_before_ns, int64_t queued_ns, int64_t end_ns, int64_t host_after_ns);
  int64_t middle_ns() const { return lo_ns + (hi_ns - lo_ns) / 2; }
  int64_t uncertainty_ns() const;  // half the distance of the bounds
};

// Made of the bounds before and after a recording. If they overlap, the clocks are taken to run at the same rate, and
// the intersection bounds the offset. Otherwise they drift, and the offset is interpolated.
class ClockMap {
 public:
  ClockMap(const ClockBounds& before, const ClockBounds& after);
  int64_t host_ns(int64_t device_ns) const;
  int64_t uncertainty_ns() const { return uncertainty_ns_; }

 private:
  int64_t from_ns_, offset_ns_, uncertainty_ns_;
  double drift_ = 0;  // change of the offset per nanosecond of the device's clock
};

}  // namespace coexec
