#include "check.h"
#include "cl/cl_error.h"
#include "exec/json.h"

using namespace coexec;

TEST(error, carries_name_number_and_what_was_done) {
  const std::string text = message_of([] { check(-54, "launching kernel 'k'"); });
  CHECK(contains(text, "launching kernel 'k' failed: CL_INVALID_WORK_GROUP_SIZE (-54)"));
  CHECK_EQ(error_name(-11), "CL_BUILD_PROGRAM_FAILURE (-11)");
  CHECK_EQ(error_name(-12345), "unknown OpenCL error (-12345)");
  check(CL_SUCCESS, "nothing");
}

TEST(error, text_is_only_made_when_needed) {
  bool made = false;
  check(CL_SUCCESS, [&] {
    made = true;
    return std::string();
  });
  CHECK(!made);
}

TEST(error, json_strings_survive_what_drivers_write) {
  CHECK_EQ(json_string("a\"b\\c\n\xff"), "\"a\\\"b\\\\c\\u000a\\u00ff\"");
}
