#include "cl/options.h"

#include <stdlib.h>

#include "check.h"

using namespace coexec;

namespace {

using Values = std::vector<std::pair<const char*, const char*>>;

Options read(const Values& values) {
  for (const char* name : {"TVM_COEXEC_CACHE_DIR", "XDG_CACHE_HOME", "TVM_COEXEC_OPENCL_MEMORY",
                           "TVM_COEXEC_OPENCL_PROFILE", "TVM_COEXEC_OPENCL_STAGING_MB", "TVM_COEXEC_OPENCL_DEVICES"}) {
    unsetenv(name);
  }
  setenv("HOME", "/home/me", 1);
  for (const auto& v : values) {
    setenv(v.first, v.second, 1);
  }
  return Options::from_environment(Api::kOpenCL);
}

}  // namespace

TEST(options, cache_folder) {
  CHECK_EQ(read({}).cache_dir, "/home/me/.cache/tvm_coexec/opencl");
  CHECK_EQ(read({{"XDG_CACHE_HOME", "/xdg"}}).cache_dir, "/xdg/tvm_coexec/opencl");
  CHECK_EQ(read({{"XDG_CACHE_HOME", "relative"}}).cache_dir,
           "/home/me/.cache/tvm_coexec/opencl");  // not allowed by XDG
  CHECK_EQ(read({{"XDG_CACHE_HOME", "/xdg"}, {"TVM_COEXEC_CACHE_DIR", "/mine"}}).cache_dir, "/mine/opencl");
  CHECK_EQ(read({{"TVM_COEXEC_CACHE_DIR", "off"}}).cache_dir, "");
  CHECK(!read({}).cache_wanted && !read({{"TVM_COEXEC_CACHE_DIR", "off"}}).cache_wanted);
  CHECK(read({{"TVM_COEXEC_CACHE_DIR", "/mine"}}).cache_wanted);
}

TEST(options, defaults) {
  const Options o = read({});
  CHECK_EQ(o.devices, "all");
  CHECK(o.memory == MemoryMode::kAuto && !o.profile);
  CHECK_EQ(o.staging_limit_bytes, size_t{256} << 20);
}

TEST(options, values) {
  CHECK(read({{"TVM_COEXEC_OPENCL_MEMORY", "coarse"}}).memory == MemoryMode::kCoarseSvm);
  CHECK(read({{"TVM_COEXEC_OPENCL_PROFILE", "1"}}).profile);
  CHECK_EQ(read({{"TVM_COEXEC_OPENCL_STAGING_MB", "0"}}).staging_limit_bytes, size_t{0});
  CHECK(
      contains(message_of([] { read({{"TVM_COEXEC_OPENCL_STAGING_MB", "-1"}}); }), "integer from 0 to 1048576 (MiB)"));
  CHECK(
      contains(message_of([] { read({{"TVM_COEXEC_OPENCL_STAGING_MB", "1x"}}); }), "integer from 0 to 1048576 (MiB)"));
}
