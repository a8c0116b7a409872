// What is particular to the driver over wgpu-native; nothing to do on OpenCL.
#include <algorithm>

#include "arrays.h"
#include "check.h"
#include "wgpu/objects.h"

using namespace coexec;

namespace {

bool on_vulkan() { return tested_api() == Api::kVulkan; }

} // namespace

// WebGPU copies whole words: ranges that begin or end within one must leave the
// rest of it as it is.
TEST(vulkan, ranges_of_any_offset_and_size) {
  if (!on_vulkan()) {
    return;
  }
  constexpr size_t kBytes = 23;
  const RegionPtr a = allocate_region(device(), kBytes, 128),
                  b = allocate_region(device(), kBytes, 128);
  std::vector<unsigned char> model(kBytes, 7), other(kBytes, 9), read(kBytes);
  const int slot = device().slot;
  copy({model.data(), -1}, {a->base, slot}, kBytes, nullptr);
  copy({other.data(), -1}, {b->base, slot}, kBytes, nullptr);
  unsigned char next = 0;
  for (size_t offset = 0; offset < 6; ++offset) {
    for (size_t n = 1; offset + n <= kBytes; n += 1 + n / 3) {
      std::vector<unsigned char> values(n);
      std::generate(values.begin(), values.end(), [&] { return ++next; });
      std::copy(values.begin(), values.end(),
                model.begin() + static_cast<std::ptrdiff_t>(offset));
      copy({values.data(), -1}, {a->base + offset, slot}, n, nullptr);
      const size_t to =
          (offset * 5 + n) % (kBytes - n + 1); // within the device, too
      std::copy_n(model.begin() + static_cast<std::ptrdiff_t>(offset), n,
                  other.begin() + static_cast<std::ptrdiff_t>(to));
      copy({a->base + offset, slot}, {b->base + to, slot}, n, nullptr);
      std::vector<unsigned char> part(n);
      copy({a->base + offset, slot}, {part.data(), -1}, n, nullptr);
      CHECK(part == values);
    }
  }
  copy({a->base, slot}, {read.data(), -1}, kBytes, nullptr);
  CHECK(read == model);
  copy({b->base, slot}, {read.data(), -1}, kBytes, nullptr);
  CHECK(read == other);
  free_region(a->base);
  free_region(b->base);
}

// The driver reports the device as lost: an error for what was there, and a new
// device for what comes.
TEST(vulkan, a_lost_device_is_replaced) {
  if (!on_vulkan()) {
    return;
  }
  constexpr size_t kN = 64;
  Add add;
  const Array a(kN, 1), b(kN, 2), c(kN, 0);
  add(a, b, c);
  CHECK(all_equal(c.read(), 3));
  device().context()->gpu()->note_lost("for a test");
  for (int i = 0; i < 2; ++i) {
    CHECK(contains(message_of([&] { c.read(); }), name_of(-2)));
    CHECK(contains(message_of([&] { add(a, b, c); }), name_of(-2)));
    CHECK(contains(message_of([&] { const_cast<Array &>(c).fill(1); }),
                   name_of(-2)));
  }
  const Array d(kN, 1), e(kN, 2), f(kN, 0);
  add(d, e, f);
  CHECK(all_equal(f.read(), 3));
}

// Times of a command arrive later than its end, maybe later than its event is
// released.
TEST(vulkan, events_are_released_before_their_times_arrive) {
  if (!on_vulkan()) {
    return;
  }
  constexpr size_t kN = 1024;
  Add add;
  device().set_profiling(true);
  {
    const Array a(kN, 1), b(kN, 2), c(kN, 0);
    const auto work = [&](cl_event *event) {
      cl_int code = CL_SUCCESS;
      const float value = 1;
      code = device().driver().EnqueueWriteBuffer(
          device().transfer().handle, find_region(a.base)->mem, kAsync, 0,
          sizeof value, &value, 0, nullptr, event);
      CHECK_EQ(code, CL_SUCCESS);
    };
    for (int i = 0; i < 50; ++i) {
      cl_event dropped = nullptr, timed = nullptr;
      add(a, b, c);
      work(&dropped);
      device().driver().ReleaseEvent(dropped);
      work(&timed);
      cl_ulong begin = 0, end = 0;
      CHECK_EQ(
          device().driver().GetEventProfilingInfo(
              timed, CL_PROFILING_COMMAND_START, sizeof begin, &begin, nullptr),
          CL_SUCCESS);
      CHECK_EQ(device().driver().GetEventProfilingInfo(
                   timed, CL_PROFILING_COMMAND_END, sizeof end, &end, nullptr),
               CL_SUCCESS);
      CHECK(end >= begin && end > 0);
      device().driver().ReleaseEvent(timed);
    }
    CHECK(all_equal(c.read(), 3));
  }
  device().set_profiling(false);
}
