#include "exec/clock_map.h"

#include <cstdlib>

#include "check.h"

using namespace coexec;

TEST(clock_map, one_command_bounds_the_offset_by_what_it_took) {
  ClockBounds b;
  b.add(1000, 100, 150, 1090);  // enqueued 10..40 after the first look, by the
                                // device's clock 50 long
  CHECK_EQ(b.lo_ns, 900);
  CHECK_EQ(b.hi_ns, 940);
  CHECK_EQ(b.middle_ns(), 920);
  CHECK_EQ(b.uncertainty_ns(), 20);
}

TEST(clock_map, many_commands_bound_it_better_than_any_of_them) {
  const int64_t offset = 5000000000;
  ClockBounds b;
  b.add(1000 + offset, 1001, 1050, 1090 + offset);  // a late answer
  b.add(2000 + offset, 2035, 2050, 2051 + offset);  // a slow start
  CHECK_EQ(b.lo_ns, offset - 1);
  CHECK_EQ(b.hi_ns, offset + 1);
}

TEST(clock_map, clocks_that_run_alike_are_bounded_by_both_ends) {
  ClockBounds before{0, -10, 30}, after{1000, -40, 12};
  const ClockMap map(before, after);
  CHECK_EQ(map.host_ns(500), 501);
  CHECK_EQ(map.uncertainty_ns(), 11);
}

TEST(clock_map, a_clock_that_runs_faster_is_followed) {
  const ClockMap map(ClockBounds{0, 90, 110}, ClockBounds{1000000, 590, 630});
  CHECK_EQ(map.host_ns(0), 100);
  CHECK_EQ(map.host_ns(1000000), 1000610);
  CHECK(std::abs(map.host_ns(500000) - 500355) <= 1);
  CHECK_EQ(map.uncertainty_ns(), 20);
}

TEST(clock_map, a_coarse_clock_is_no_reason_to_claim_more_than_it_tells) {
  ClockBounds b;
  b.add(1000, 90, 200, 1100);
  b.add(1000, 60, 200, 1100);  // the bounds are the wrong way round
  CHECK(b.lo_ns > b.hi_ns);
  CHECK_EQ(b.uncertainty_ns(), (b.lo_ns - b.hi_ns) / 2);
  const ClockMap map(b, b);
  CHECK(map.uncertainty_ns() >= 0);
}
