#include "exec/trace.h"

#include <cstdlib>

#include "check.h"

using namespace coexec;

namespace {

Span span_of(SpanKind kind) {
  return {kind, -1, 10, 20};
}

// No driver is to be opened here.
void start() {
  setenv("TVM_COEXEC_LIBOPENCL", "/nowhere/libOpenCL.so", 1);
  Trace::get().start();
}

}  // namespace

TEST(trace, nothing_is_recorded_while_it_is_off) {
  {
    Timed timed(SpanKind::kUpload, 0, 100);
  }
  CHECK(contains(Trace::get().take(), "\"spans\": []"));
}

TEST(trace, a_span_has_the_node_in_whose_function_it_happened) {
  {
    const NodeScope outer(7);
    {
      const NodeScope inner(8);
      Trace::get().add(span_of(SpanKind::kUpload));
    }
    Trace::get().add(span_of(SpanKind::kDownload));
  }
  Trace::get().add(span_of(SpanKind::kElidedCopy));
  const std::string taken = Trace::get().take();
  CHECK(contains(taken, "[\"upload\", -1, 8, "));
  CHECK(contains(taken, "[\"download\", -1, 7, "));
  CHECK(contains(taken, "[\"elided copy\", -1, -1, "));
  CHECK(contains(Trace::get().take(), "\"spans\": []"));
}

TEST(trace, names_are_written_once) {
  const auto name = std::make_shared<const std::string>("f\"");
  for (int i = 0; i < 2; ++i) {
    Trace::get().add({SpanKind::kCall, -1, 10, 20, 0, name});
  }
  const std::string taken = Trace::get().take();
  CHECK(contains(taken, "\"names\": [\"f\\\"\"]"));
  CHECK(contains(taken, "[\"call\", 0, -1, "));
}

TEST(trace, the_oldest_spans_give_way_and_are_counted) {
  for (int i = 0; i < 100003; ++i) {
    Trace::get().add(span_of(i < 3 ? SpanKind::kUpload : SpanKind::kWait));
  }
  const std::string taken = Trace::get().take();
  CHECK(contains(taken, "\"dropped\": 3,"));
  CHECK(!contains(taken, "upload"));
  CHECK(contains(Trace::get().take(), "\"dropped\": 0,"));
}

TEST(trace, a_wait_is_cut_out_of_the_copy_around_it) {
  Trace::get().add(span_of(SpanKind::kLaunch));  // forgotten by the start
  start();
  {
    Timed timed(SpanKind::kDownload, 0, 64);
    CHECK(static_cast<bool>(timed));
    timed.record_wait([] {});
  }
  const std::string taken = Trace::get().take();
  CHECK(!contains(taken, "launch"));
  const size_t wait = taken.find("\"wait\""), first = taken.find("\"download\""), last = taken.rfind("\"download\"");
  CHECK(first < wait && wait < last);
}

TEST(trace, one_at_a_time) {
  start();
  const std::string said = message_of([] { Trace::get().start(); });
  CHECK(contains(said, "already being recorded"));
  Trace::get().take();
  start();
  Trace::get().take();
}
