// Parses the OpenCL C that TVM generates.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "region.h"

namespace coexec {

// Splits a source at TVM's marks "// Function: name" into one part per kernel, by name; empty if there are no marks.
// Text before the first mark is prepended to every part. Forward declarations of kernels are removed: TVM writes those
// of all kernels into each part, in an order that differs between runs, so no cached binary would match.
std::map<std::string, std::string> split_kernels(const std::string& source);

// The access of each of the `n_args` parameters of kernel `name`: kRead if the source proves that the kernel only loads
// elements through the pointer, otherwise kWrite, also if the kernel is not found. TVM writes no `const`, so without
// this analysis a download would wait for the last reader instead of the writer.
std::vector<Access> parameter_access(const std::string& source, const std::string& name, size_t n_args);

// Replaces `bool` in kernel parameter lists, which OpenCL forbids but TVM writes, by uchar.
std::string replace_bool_parameters(const std::string& source);

}  // namespace coexec
