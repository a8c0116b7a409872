#include "exec/kernel_source.h"

#include "check.h"

using namespace coexec;

namespace {

// "r" or "w" for each parameter of `__kernel void k(<parameters>) { <body> }`.
std::string access(const std::string& parameters, const std::string& body, size_t n) {
  std::string text;
  for (Access a : parameter_access(
           "__kernel void k(" + parameters + ");\n__kernel void k(" + parameters + ") {\n" + body + "\n}\n", "k", n)) {
    text += a == Access::kRead ? 'r' : 'w';
  }
  return text;
}

const std::string kTwo = "__global float* restrict a, __global float* restrict b";

}  // namespace

TEST(kernel_source, splits_by_mark) {
  const auto parts = split_kernels(
      "// head\n// Function: f\n__kernel void g(int a);\n__kernel void f(int a);\n__kernel void f(int a) {\n}\n"
      "// Function: g\n__kernel void g(int a) {\n}\n");
  CHECK_EQ(parts.size(), 2u);
  CHECK_EQ(parts.at("f"), "// head\n__kernel void f(int a) {\n}\n");
  CHECK_EQ(parts.at("g"), "// head\n__kernel void g(int a) {\n}\n");
  CHECK(split_kernels("__kernel void f() {}").empty());
}

TEST(kernel_source, parts_do_not_depend_on_the_order_of_declarations) {
  const std::string f = "__kernel void f(int a) {\n}\n";
  const auto one = split_kernels("// Function: f\n__kernel void f(int a);\n__kernel void g(int a);\n" + f);
  const auto two = split_kernels("// Function: f\n__kernel void g(int a);\n__kernel void f(int a);\n" + f);
  CHECK_EQ(one.at("f"), two.at("f"));
}

TEST(kernel_source, element_loads_and_stores) {
  CHECK_EQ(access(kTwo, "a[i] = b[i] + b[i + 1];", 2), "wr");
  CHECK_EQ(access(kTwo, "a[i] = (a[i] + b[i]);", 2), "wr");
  CHECK_EQ(access(kTwo, "if (b[0] == 1.0f) { a[0] = 2.0f; }", 2), "wr");
  CHECK_EQ(access(kTwo, "a[convert_int(b[i])] += 1.0f; b[2]++;", 2), "ww");
  CHECK_EQ(access(kTwo, "a[i] = 1; --b[2];", 2), "ww");
  CHECK_EQ(access(kTwo, "a[i].s0 = b[i].s1;", 2), "wr");
  CHECK_EQ(access(kTwo, "float c[2]; c[0] = b[i] <= a[i];", 2), "rr");
}

TEST(kernel_source, vector_loads_and_stores) {
  CHECK_EQ(access(kTwo, "vstore4(vload4(0, b + (i * 4)), 0, a + (i * 4));", 2), "wr");
  CHECK_EQ(access(kTwo, "((__global float4*)(a + (i * 4)))[0] = ((__global float4*)(b + (i * 4)))[0];", 2), "wr");
  CHECK_EQ(access(kTwo, "((__global float4*)(a))[0] = ((__global float4*)( b ))[0] * 2;", 2), "wr");
}

TEST(kernel_source, what_is_not_understood_counts_as_written) {
  CHECK_EQ(access(kTwo, "__global float* p = b + 1; p[0] = 1; a[0] = 1;", 2), "ww");
  CHECK_EQ(access(kTwo, "float* p = &b[1]; *p = 0; a[0] = 1;", 2), "ww");
  CHECK_EQ(access(kTwo, "a[0] = atomic_add(b + 3, 1);", 2), "ww");
  CHECK_EQ(access(kTwo, "*(b + 3) = 1; a[0] = 1;", 2), "ww");
  CHECK_EQ(access(kTwo, "helper(b); a[0] = 1;", 2), "ww");
  CHECK_EQ(access(kTwo, "a[0] = 1;", 3), "www");  // not the number of parameters that TVM speaks of
  CHECK(parameter_access("nothing here", "k", 2) == std::vector<Access>(2, Access::kWrite));
  CHECK(parameter_access("__kernel void k(__global float* a) { a[0] = ", "k", 1) ==
        std::vector<Access>(1, Access::kWrite));
}

TEST(kernel_source, names_inside_names_and_comments_do_not_count) {
  CHECK_EQ(access(kTwo, "ab[0] = 1; /* b[0] = 1; */ // b[1] = 2;\n a[0] = b[0];", 2), "wr");
}

TEST(kernel_source, a_kernel_that_is_named_in_another_one) {
  const std::string source = "void k2(int k) { k = 1; }\n__kernel void k(__global float* a) { float x = a[0]; }\n";
  CHECK(parameter_access(source, "k", 1) == std::vector<Access>(1, Access::kRead));
}

TEST(kernel_source, bool_parameters_become_bytes) {
  CHECK_EQ(replace_bool_parameters("__kernel void k(bool a, __global bool* restrict boolean) { bool c = a; }"),
           "__kernel void k(uchar a, __global uchar* restrict boolean) { bool c = a; }");
  CHECK_EQ(replace_bool_parameters("int f(bool b);"), "int f(bool b);");
}
