// From a device's clock to the host's: what is known of the difference, and how well.
#pragma once
#include <cstdint>
#include <limits>

namespace coexec {

// Bounds of (host clock - device clock), from commands that were enqueued after one look at the host's clock and had
// ended before another.
struct ClockBounds {
  int64_t device_ns = 0;  // about when, by the device's clock
  int64_t lo_ns = std::numeric_limits<int64_t>::min();
  int64_t hi_ns = std::numeric_limits<int64_t>::max();

  // One command: it was enqueued, and it ended, between the two looks.
  void add(int64_t host_before_ns, int64_t queued_ns, int64_t end_ns, int64_t host_after_ns);
  int64_t middle_ns() const { return lo_ns + (hi_ns - lo_ns) / 2; }
  int64_t uncertainty_ns() const;  // half of what is left open
};

// Made of the bounds before and after what was recorded. Where both have an offset in common the clocks run alike, and
// both together bound it; where not, one clock runs faster, and the offset is read off the line between the two.
class ClockMap {
 public:
  ClockMap(const ClockBounds& before, const ClockBounds& after);
  int64_t host_ns(int64_t device_ns) const;
  int64_t uncertainty_ns() const { return uncertainty_ns_; }

 private:
  int64_t from_ns_, offset_ns_, uncertainty_ns_;
  double drift_ = 0;  // of the offset, for each nanosecond of the device
};

}  // namespace coexec
