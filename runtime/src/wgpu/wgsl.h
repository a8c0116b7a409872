// What the driver reads from a kernel's WGSL, as TVM's generator writes it: storage buffers in the order of the
// kernel's buffers, then one uniform struct of its scalars and the number of work-groups.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace coexec {
namespace wg {

struct WgslInterface {
  std::vector<bool> writes;  // by storage buffer: whether the kernel writes it
  size_t n_scalars = 0;      // four bytes each
  uint32_t workgroup[3] = {1, 1, 1};
};

// Error in *why if the text is not of this form.
bool read_interface(const std::string& source, WgslInterface* found, std::string* why);

// The same kernel with all its buffers writable: WebGPU has no command that uses a buffer both ways, also not different
// ranges of it.
std::string with_writable_buffers(const std::string& source);

}  // namespace wg
}  // namespace coexec
