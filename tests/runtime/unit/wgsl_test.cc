#include "check.h"
#include "wgpu/wgsl.h"

using namespace coexec::wg;

namespace {

const char *const kShader =
    R"(@group(0) @binding(0) var<storage, read_write> out : array<f32>;
@group(0) @binding(1) var<storage, read> in : array<f32>;

struct PODArgs {
  n: i32,
  factor: f32,
  packGridDimX: u32
}
@group(0) @binding(2) var<uniform> podArgs : PODArgs;

@compute @workgroup_size(8, 2, 4)
fn f() {}
)";

std::string refusal(const std::string &source) {
  WgslInterface found;
  std::string why;
  return read_interface(source, &found, &why) ? "" : why;
}

std::string without(const std::string &part) {
  std::string text = kShader;
  return text.replace(text.find(part), part.size(), "");
}

} // namespace

TEST(wgsl, the_interface_of_a_shader) {
  WgslInterface found;
  std::string why;
  CHECK(read_interface(kShader, &found, &why));
  CHECK_EQ(found.writes.size(), size_t{2});
  CHECK(found.writes[0] && !found.writes[1]);
  CHECK_EQ(found.n_scalars, size_t{2});
  CHECK(found.workgroup[0] == 8 && found.workgroup[1] == 2 &&
        found.workgroup[2] == 4);
}

TEST(wgsl, another_text_is_refused_with_the_reason) {
  CHECK_EQ(refusal(without("@group(0) @binding(0) var<storage, read_write> out "
                           ": array<f32>;\n")),
           "the bindings are not numbered in order");
  CHECK_EQ(refusal(without(
               "@group(0) @binding(2) var<uniform> podArgs : PODArgs;\n")),
           "it has no struct PODArgs of scalars");
  CHECK_EQ(refusal(without("@compute @workgroup_size(8, 2, 4)")),
           "it has no @workgroup_size(x, y, z)");
  CHECK_EQ(refusal(without("<storage, read>")),
           "binding 1 is not a storage buffer");
  CHECK_EQ(refusal(""), "it has no struct PODArgs of scalars");
}

TEST(wgsl, all_buffers_writable) {
  const std::string all = with_writable_buffers(kShader);
  CHECK(all.find("var<storage, read> ") == std::string::npos);
  CHECK(all.find("@binding(1) var<storage, read_write> in") !=
        std::string::npos);
  CHECK_EQ(with_writable_buffers(all), all);
}
