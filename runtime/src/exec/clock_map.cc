#include "clock_map.h"

#include <algorithm>
#include <cstdlib>

namespace coexec {

void ClockBounds::add(int64_t host_before_ns, int64_t queued_ns, int64_t end_ns, int64_t host_after_ns) {
  lo_ns = std::max(lo_ns, host_before_ns - queued_ns);
  hi_ns = std::min(hi_ns, host_after_ns - end_ns);
  device_ns = end_ns;
}

int64_t ClockBounds::uncertainty_ns() const {
  return std::abs(hi_ns - lo_ns) / 2;  // a coarse device clock may swap the bounds
}

ClockMap::ClockMap(const ClockBounds& before, const ClockBounds& after) : from_ns_(before.device_ns) {
  const ClockBounds both{before.device_ns, std::max(before.lo_ns, after.lo_ns), std::min(before.hi_ns, after.hi_ns)};
  if (both.lo_ns <= both.hi_ns || after.device_ns <= before.device_ns) {
    offset_ns_ = both.middle_ns();
    uncertainty_ns_ = both.uncertainty_ns();
    return;
  }
  offset_ns_ = before.middle_ns();
  drift_ = static_cast<double>(after.middle_ns() - offset_ns_) / static_cast<double>(after.device_ns - from_ns_);
  uncertainty_ns_ = std::max(before.uncertainty_ns(), after.uncertainty_ns());
}

int64_t ClockMap::host_ns(int64_t device_ns) const {
  return device_ns + offset_ns_ + static_cast<int64_t>(drift_ * static_cast<double>(device_ns - from_ns_));
}

}  // namespace coexec
