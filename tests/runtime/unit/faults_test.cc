#include "cl/faults.h"

#include "check.h"

using namespace coexec;

TEST(faults, off_unless_asked_for) {
  faults::clear();
  CHECK(!faults::active());
  faults::inject_text("launch:3:1:-5,delay:500:7,build");
  CHECK(faults::active());
  faults::clear();
  CHECK(!faults::active());
  faults::inject_text("");
  CHECK(!faults::active());
}

TEST(faults, what_is_not_understood) {
  const auto message = [](const char* text) { return message_of([&] { faults::inject_text(text); }); };
  CHECK_EQ(message("lunch:1"),
           "there is no fault 'lunch': use one of build, allocate, launch, copy, event, lost, delay");
  CHECK_EQ(message("launch:one"), "'launch:one' is not a fault: write, for example, launch:3:1:-5 or delay:500:7");
  CHECK(contains(message("launch:"), "is not a fault"));
  CHECK(contains(message("launch:1:1:1:1"), "is not a fault"));
  CHECK(contains(message("launch:0"), "the number of the first call to fail, at least 1"));
  CHECK(contains(message("launch:1:1:5"), "a negative OpenCL error code"));
  faults::clear();
}
