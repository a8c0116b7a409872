// What is read out of the OpenCL C that TVM generates.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "region.h"

namespace coexec {

// TVM puts "// Function: name" before each kernel: the parts by name. Empty when there are no such marks. Text before
// the first mark goes in front of every part. Forward declarations of kernels are left out: TVM puts those of all
// kernels into each part, in an order that changes from run to run, so that with them no cached binary would be found
// again.
std::map<std::string, std::string> split_kernels(const std::string& source);

// The access of each of the first `n_args` parameters of kernel `name`, in order: kRead only where the text leaves no
// doubt that the kernel does nothing but load elements through that pointer, kWrite in every other case, also when the
// kernel isn't found. It is needed because TVM writes no `const`: without it a download would wait for the last reader
// instead of the writer.
std::vector<Access> parameter_access(const std::string& source, const std::string& name, size_t n_args);

// OpenCL allows no `bool` kernel parameter, but TVM writes them: turns those of the kernels' parameter lists into
// uchar.
std::string without_bool_parameters(const std::string& source);

}  // namespace coexec
