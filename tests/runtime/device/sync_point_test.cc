// Sync points in memory that host and device share, and tensors that share one block.
#include <thread>

#include "arrays.h"
#include "check.h"
#include "exec/signal.h"

using namespace coexec;

namespace {

// A block of several contiguous tensors of kCount floats.
constexpr size_t kCount = 4096;

struct Block {
  RegionPtr region;
  explicit Block(size_t tensors) : region(allocate_region(device(), tensors * kCount * 4, 128)) {
    region->planned = true;
  }
  ~Block() { free_region(region->base); }
  char* at(size_t i) const { return region->base + i * kCount * 4; }
  // The commands for which a host that reads tensor i has to wait now.
  size_t waits(size_t i) const {
    WaitList list;
    std::lock_guard<std::mutex> lock(region->mu);
    region->order(Access::kRead, nullptr, &list, i * kCount * 4, kCount * 4);
    return list.size();
  }
  void fill(size_t i, float value) const {
    const std::vector<float> values(kCount, value);
    copy({const_cast<float *>(values.data()), -1}, {at(i), device().slot},
         kCount * 4, nullptr);
  }
  std::vector<float> read(size_t i) const {
    std::vector<float> values(kCount);
    copy({at(i), device().slot}, {values.data(), -1}, kCount * 4, nullptr);
    return values;
  }
};

// out = in + 1, after some work.
class Next {
 public:
   Next() : kernel_(elementwise("next", "a", "a[i] + 1.0", 2000)) {}
   void operator()(const Block &b, size_t from, size_t to, bool sizes = true) {
     Argument args[2];
     args[0].address = b.at(from);
     args[1].address = b.at(to);
     ArgumentSizes::Known known;
     if (sizes) {
       known = {{b.at(from), kCount * 4}, {b.at(to), kCount * 4}};
     }
     const ArgumentSizes scope(known);
     const int64_t grid[] = {static_cast<int64_t>(kCount / 32), 32};
     kernel_.launch(args, grid);
  }

 private:
  Kernel kernel_;
};

bool sub_buffers_fit() {
  return kCount * 4 % device().info.base_align_bytes == 0;
}

}  // namespace

TEST(sync_points, tensors_in_one_block_do_not_wait_for_each_other) {
  if (!sub_buffers_fit()) {
    return;
  }
  const Block b(4);
  Next next;
  for (size_t i = 0; i < 4; ++i) {
    b.fill(i, static_cast<float>(10 * i));
  }
  device().sync(nullptr);
  for (int k = 0; k < 10; ++k) {
    next(b, 0, 2);  // still at it, most likely
    CHECK_EQ(b.waits(0), size_t{0});
    CHECK_EQ(b.waits(1), size_t{0});
    CHECK_EQ(b.waits(3), size_t{0});
  }
  CHECK(all_equal(b.read(2), 1) && all_equal(b.read(3), 30));
}

TEST(sync_points, the_last_writer_is_recorded_by_range) {
  if (!sub_buffers_fit()) {
    return;
  }
  const Block b(5);
  Next next;
  b.fill(0, 1);
  next(b, 0, 1);
  next(b, 1, 2);
  next(b, 2, 3, false);  // its size is unknown: it may have written to the end
  next(b, 1, 4);
  next(b, 4, 1);
  CHECK(all_equal(b.read(4), 3) && all_equal(b.read(1), 4) && all_equal(b.read(3), 4) && all_equal(b.read(2), 3));
  b.fill(2, 9);  // an upload into the middle
  next(b, 2, 3);
  CHECK(all_equal(b.read(3), 10) && all_equal(b.read(1), 4) && all_equal(b.read(4), 3));
}

TEST(sync_points, the_host_sees_what_it_has_waited_for) {
  Signals& signals = Signals::of(device());
  const std::string measured = signals.measured_json();
  CHECK(contains(measured, std::string("\"method\": \"") + wait_method_name(signals.method())));
  const Block b(2);
  Next next;
  b.fill(0, 5);
  for (int k = 0; k < 20; ++k) {
    next(b, 0, 1);
    signals.signal(*b.region, kCount * 4, kCount * 4);
    signals.wait(device().compute().last());
    if (device().memory() == MemoryMode::kFineSvm) {
      const auto* values = reinterpret_cast<const float*>(b.at(1));
      CHECK(all_equal(std::vector<float>(values, values + kCount), 6));
    }
  }
  CHECK(all_equal(b.read(1), 6));
}

TEST(sync_points, a_copy_waits_for_an_early_download) {
  const Block b(2);
  Next next;
  b.fill(0, 5);
  std::vector<float> to(kCount, 0);
  for (int k = 0; k < 5; ++k) {
    next(b, 0, 1);
    start_download(*b.region, kCount * 4, to.data(), kCount * 4);
    next(b, 0, 1);
    copy({b.at(1), device().slot}, {to.data(), -1}, kCount * 4, nullptr);
    CHECK(all_equal(to, 6));
    std::fill(to.begin(), to.end(), 0.0f);
  }
  start_download(*b.region, 0, to.data(), kCount * 4);  // no copy collects it
  device().drain_transfers();
  CHECK(all_equal(to, 5));
}

TEST(sync_points, a_run_that_fails_leaves_the_device_idle_and_is_reported_once) {
  const Faults end;
  const Block b(3);
  Next next;
  b.fill(0, 1);
  next(b, 0, 1);
  device().sync(nullptr);
  for (const char* what : {"launch", "event"}) {
    faults::inject(what, 2, 1, 0);
    std::string text;
    try {
      next(b, 0, 1);
      next(b, 1, 2);
      b.read(2);
    } catch (const Error& e) {
      text = e.what();
    }
    CHECK(contains(text, "kernel 'next'"));
    CHECK(!device().busy());
    faults::clear();
    next(b, 0, 1);  // the next run
    next(b, 1, 2);
    CHECK(all_equal(b.read(2), 3));
  }
}

TEST(sync_points, a_signal_that_fails_fails_no_other) {
  const Faults end;
  Signals& signals = Signals::of(device());
  if (signals.method() != WaitMethod::kFlag) {
    return;
  }
  const Block b(3);
  Next next;
  b.fill(0, 1);
  for (int k = 0; k < 5; ++k) {
    next(b, 0, 1);
    const Event written = device().compute().last();
    faults::inject("event", 1, 1, 0);
    signals.signal(*b.region, kCount * 4, kCount * 4);
    faults::clear();
    const Event signal = device().compute().last();
    CHECK(signal != written);
    signals.wait(written);  // in vain for the signal, and then for the kernel
    while (!signal->has_ended()) {
      std::this_thread::yield();
    }
    CHECK(signal->failure() != nullptr);
    next(b, 1, 2);  // another module's
    signals.signal(*b.region, 2 * kCount * 4, kCount * 4);
    CHECK(all_equal(b.read(2), 3));
  }
}

TEST(sync_points, tensors_without_elements_need_no_wait_and_no_mapping) {
  const Block b(2);
  Next next;
  b.fill(0, 1);
  next(b, 0, 1);  // still at it, most likely
  WaitList list;
  {
    std::lock_guard<std::mutex> lock(b.region->mu);
    b.region->order(Access::kRead, nullptr, &list, kCount * 4, 0);
    b.region->record(Access::kWrite, device().compute().last(), 0, 0);
  }
  CHECK_EQ(list.size(), size_t{0});
  float* const at = nullptr;
  map_for_host_write(*b.region, kCount * 4, 0);
  start_download(*b.region, kCount * 4, at, 0);
  copy({b.at(1), device().slot}, {b.at(1), -1}, 0, nullptr);
  copy({b.at(1), device().slot}, {at, -1}, 0, nullptr);
  CHECK(all_equal(b.read(1), 2) && all_equal(b.read(0), 1));
  const ArgumentSizes::Known known = {{b.at(0), 0}, {b.at(0), 64}, {b.at(1), 0}};
  const ArgumentSizes scope(known);
  CHECK_EQ(ArgumentSizes::of(b.at(0)), size_t{64});
  CHECK_EQ(ArgumentSizes::of(b.at(1)), size_t{0});
  CHECK_EQ(ArgumentSizes::of(at), kToEnd);
}

TEST(sync_points, memory_is_found_by_its_address_as_long_as_it_has_an_owner) {
  Next next;
  RegionPtr view;
  char* base = nullptr;
  {
    const Block b(2);
    b.fill(0, 1);
    view = b.region;
    base = b.region->base;
  }  // TVM has freed the array; a view of it is left
  CHECK(find_region(base + 4) == view);
  std::vector<float> values(kCount);
  copy({base, device().slot}, {values.data(), -1}, kCount * 4, nullptr);
  CHECK(all_equal(values, 1));
  free_region(base);  // once more does nothing
  CHECK(find_region(base) == view);
  view.reset();
  CHECK(find_region(base) == nullptr);
}
