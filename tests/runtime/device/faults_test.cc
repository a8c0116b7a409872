// One fault after the other: a sentence that names what was done and where, nothing left after, and the same objects
// work when the fault is gone.
#include <thread>

#include "arrays.h"
#include "check.h"

using namespace coexec;

namespace {

constexpr size_t kN = 1024;

// Two sums, read back: 5.
void good_run(Add& add) {
  Array a(kN, 1), b(kN, 2), c(kN), d(kN);
  add(a, b, c);
  add(c, b, d);
  CHECK(all_equal(d.read(), 5));
}

bool names_device(const std::string& text) {
  return contains(text, device().text());
}

}  // namespace

TEST(faults, a_program_is_not_built) {
  const Faults end;
  Add add("unlucky", "// " + std::to_string(live_bytes()) + "\n");
  Array a(kN, 1), b(kN, 2), c(kN);
  faults::inject("build", 1, 2, 0);
  for (int i = 0; i < 2; ++i) {
    const std::string text = message_of([&] { add(a, b, c); });
    CHECK(contains(text, "building the kernel 'unlucky' for " + device().text()));
    CHECK(contains(text, name_of(-11)));
  }
  good_run(add);
}

TEST(faults, memory_is_not_to_be_had) {
  const Faults end;
  const int64_t live = live_bytes();
  Add add;
  for (const cl_int code : {-4, -6}) {
    for (int nth = 1; nth <= 4; ++nth) {
      faults::inject("allocate", nth, 1, code);
      const std::string text = message_of([&] { good_run(add); });
      CHECK(contains(text, "allocating 4096 bytes on " + device().text()));
      CHECK(contains(text, name_of(-4)) || contains(text, name_of(-6)));
      CHECK_EQ(live_bytes(), live);
      good_run(add);
    }
  }
}

TEST(faults, a_launch_is_refused) {
  const Faults end;
  Add add;
  for (int nth = 1; nth <= 2; ++nth) {
    faults::inject("launch", nth, 1, 0);
    const std::string text = message_of([&] { good_run(add); });
    CHECK(contains(text, "launching kernel 'add' on " + device().text()));
    CHECK(contains(text, name_of(-5)));
    good_run(add);
  }
}

// Whatever the fault meets: a run tells, or its result is right. It never goes on for good, nor into the next run.
TEST(faults, any_command_ends_badly) {
  const Faults end;
  Add add;
  int reported = 0;
  for (int nth = 1; nth <= 8; ++nth) {
    for (const char* what : {"event", "copy"}) {
      const uint64_t before = faults::hits(what);
      faults::inject(what, nth, 1, 0);
      std::string text;
      try {
        good_run(add);
      } catch (const Error& e) {
        text = e.what();
        ++reported;
        CHECK(names_device(text) &&
              contains(text, tested_api() == Api::kOpenCL ? "CL_" : "VULKAN_"));
      }
      faults::clear();
      CHECK(text.empty() || faults::hits(what) > before);
      try {
        device().sync(nullptr);  // failures that were not reported, since no one has read the data
      } catch (const Error&) {
      }
      good_run(add);
    }
  }
  CHECK(reported >= 2);
}

TEST(faults, users_of_a_failed_kernels_result_get_an_error_that_names_it) {
  const Faults end;
  Add first("first"), second("second"), third("third");
  Array a(kN, 1), b(kN, 2), c(kN, 0), d(kN, 0), e(kN, 0), other(kN, 0);
  for (int i = 0; i < 3; ++i) {
    device().sync(nullptr);
    faults::inject("event", 1, 1, -5);
    first(a, b, c);
    std::string text = message_of([&] {
      second(c, b, d);  // of the same queue: the driver has no reason to let it fail
      third(d, b, e);
      e.read();
    });
    CHECK(contains(text, "kernel 'first' on " + device().text()) &&
          contains(text, name_of(-5)));
    text = message_of([&] { c.read(); });  // still not to be read
    CHECK(contains(text, "kernel 'first'"));
    text = message_of([&] { third(c, b, other); });
    CHECK(contains(text, "kernel 'first'"));
    // Memory of a failed run is written again by the next one.
    first(a, b, c);
    second(c, b, d);
    third(d, b, e);
    CHECK(all_equal(c.read(), 3) && all_equal(d.read(), 5) && all_equal(e.read(), 7));
  }
}

TEST(faults, others_on_the_queue_are_not_concerned) {
  const Faults end;
  Add add;
  Array a(kN, 1), b(kN, 2), bad(kN, 0), good(kN, 0);
  device().sync(nullptr);
  faults::inject("event", 1, 1, 0);
  add(a, b, bad);
  add(a, b, good);
  CHECK(all_equal(good.read(), 3));
  CHECK(contains(message_of([&] { device().sync(nullptr); }), "kernel 'add'"));
  device().sync(nullptr);  // reported once
  CHECK(contains(message_of([&] { bad.read(); }), "kernel 'add'"));
  bad.fill(4);
  CHECK(all_equal(bad.read(), 4));
}

TEST(faults, the_device_is_gone_and_comes_back) {
  const Faults end;
  const int64_t live = live_bytes();
  Add add;
  {
    Array a(kN, 1), b(kN, 2), c(kN, 0), d(kN, 0);
    add(a, b, c);
    faults::inject("lost", 1, -1, 0);
    const std::string gone = name_of(-2);
    CHECK(contains(message_of([&] { add(a, b, d); }), gone));
    CHECK(contains(message_of([&] { device().sync(nullptr); }), gone));
    CHECK(contains(message_of([&] { device().create_stream(); }), gone));
    const std::string text = message_of([&] { Array more(kN); });
    CHECK(names_device(text));
    CHECK(contains(text, device().memory() == MemoryMode::kBuffer ||
                                 device().memory() == MemoryMode::kHostPtr
                             ? gone
                             : name_of(-4)));
    if (device().memory() != MemoryMode::kFineSvm) {  // what was written before is the host's to see there
      CHECK(contains(message_of([&] { c.read(); }), gone));
      CHECK(contains(message_of([&] { d.fill(1); }), gone));
    }
    faults::clear();
    add(a, b, d);
    CHECK(all_equal(d.read(), 3) && all_equal(c.read(), 3));
    faults::inject("lost", 1, -1, 0);
  }  // freed while it is gone
  faults::clear();
  CHECK_EQ(live_bytes(), live);
  good_run(add);
}

TEST(faults, a_stream_is_freed_whatever_happened_on_it) {
  const Faults end;
  Add add;
  Array a(kN, 1), b(kN, 2), c(kN, 0);
  for (int i = 0; i < 3; ++i) {
    Queue* const stream = device().create_stream();
    device().set_current(stream);
    faults::inject("event", 1, 1, 0);
    add(a, b, c);
    device().free_stream(stream);
    CHECK(device().current_handle() == nullptr);
    CHECK(contains(message_of([&] { c.read(); }), "kernel 'add'"));
    add(a, b, c);
    CHECK(all_equal(c.read(), 3));
  }
}

TEST(faults, the_host_does_not_read_what_was_not_written) {
  if (device().memory() == MemoryMode::kBuffer) {
    return;
  }
  const Faults end;
  Add add;
  Array a(kN, 1), b(kN, 2), c(kN, 0);
  device().sync(nullptr);
  faults::inject("event", 1, 1, 0);
  add(a, b, c);
  const auto look = [&] { copy(c.endpoint(), c.host_endpoint(), kN * 4, nullptr); };
  CHECK(contains(message_of(look), "kernel 'add'"));
  add(a, b, c);
  look();
  CHECK_EQ(reinterpret_cast<float*>(c.base)[kN - 1], 3.0f);
  copy(c.host_endpoint(), c.endpoint(), kN * 4, nullptr);
  add(c, b, a);
  CHECK(all_equal(a.read(), 5));
}

// What one thread has heard, by waiting for the device, does not let another's data pass as good.
TEST(faults, another_threads_wait_hides_nothing) {
  const Faults end;
  Add add;
  Array a(kN, 1), b(kN, 2), c(kN, 0);
  device().sync(nullptr);
  faults::inject("event", 1, 1, 0);
  add(a, b, c);
  std::string heard;
  std::thread([&] { heard = message_of([&] { device().sync(nullptr); }); }).join();
  CHECK(contains(heard, "kernel 'add'"));
  device().sync(nullptr);
  CHECK(contains(message_of([&] { add(a, b, c); }), "kernel 'add'"));
  add(a, b, c);
  CHECK(all_equal(c.read(), 3));
}
