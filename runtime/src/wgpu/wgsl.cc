#include "wgsl.h"

#include <cstdio>

namespace coexec {
namespace wg {
namespace {

const char kReadOnly[] = "var<storage, read> ";
const char kWritable[] = "var<storage, read_write> ";
const char kUniform[] = "var<uniform> ";

bool starts_at(const std::string& s, size_t at, const char* text) {
  return s.compare(at, std::char_traits<char>::length(text), text) == 0;
}

}  // namespace

bool read_interface(const std::string& source, WgslInterface* found, std::string* why) {
  const char mark[] = "@group(0) @binding(";
  bool has_uniform = false;
  for (size_t at = source.find(mark); at != std::string::npos; at = source.find(mark, at + 1)) {
    unsigned binding = 0;
    int used = 0;
    if (std::sscanf(source.c_str() + at, "@group(0) @binding(%u) %n", &binding, &used) != 1 || used == 0) {
      *why = "a binding can't be read";
      return false;
    }
    const size_t variable = at + static_cast<size_t>(used);
    if (binding != found->writes.size()) {
      *why = "the bindings are not numbered in order";
      return false;
    }
    if (starts_at(source, variable, kUniform)) {
      has_uniform = true;
      break;
    }
    if (!starts_at(source, variable, kReadOnly) && !starts_at(source, variable, kWritable)) {
      *why = "binding " + std::to_string(binding) + " is not a storage buffer";
      return false;
    }
    found->writes.push_back(starts_at(source, variable, kWritable));
  }
  const size_t begin = source.find("\nstruct PODArgs"), end = source.find('}', begin);
  if (!has_uniform || begin == std::string::npos || end == std::string::npos) {
    *why = "it has no struct PODArgs of scalars";
    return false;
  }
  for (size_t i = source.find(':', begin); i < end; i = source.find(':', i + 1)) {
    ++found->n_scalars;
  }
  if (found->n_scalars == 0) {
    *why = "struct PODArgs has no member";
    return false;
  }
  --found->n_scalars;  // the last member is the number of work-groups
  const char size[] = "@workgroup_size(";
  const size_t at = source.find(size);
  if (at == std::string::npos || std::sscanf(source.c_str() + at, "@workgroup_size(%u, %u, %u)", &found->workgroup[0],
                                             &found->workgroup[1], &found->workgroup[2]) != 3) {
    *why = "it has no @workgroup_size(x, y, z)";
    return false;
  }
  return true;
}

std::string with_writable_buffers(const std::string& source) {
  std::string out = source;
  const size_t n = sizeof kReadOnly - 1;
  for (size_t at = out.find(kReadOnly); at != std::string::npos; at = out.find(kReadOnly, at + 1)) {
    out.replace(at, n, kWritable);
  }
  return out;
}

}  // namespace wg
}  // namespace coexec
