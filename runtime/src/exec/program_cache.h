// An on-disk cache of kernel binaries, because a driver takes 0.1 to 30 s to compile a kernel.
#pragma once
#include <cstdint>
#include <string>

#include "../cl/device.h"

namespace coexec {

// Builds `source` (OpenCL C of kernel `name`) for the device, or loads it from the cache. Error with the build log if
// the build fails. For drivers with their own cache (pocl) this one is used only if the user has set its folder. The
// name of an entry is a hash of source, options, device, driver and platform version, so a new driver never gets an old
// binary.
cl_program build_program(Device& device, const std::string& name, const std::string& source);

// Entries are files, written under a temporary name and renamed, so that readers never see an incomplete one. Length
// and hash of the payload are checked; an entry that is damaged, or that the driver rejects, is deleted and rebuilt.
// Only build_program and tests use these functions.
namespace program_cache {
enum class Found { kNo, kYes, kDamaged };
Found read(const std::string& path, const std::string& key, std::string* binary);
bool write(const std::string& dir, const std::string& path, const std::string& key, const std::string& binary);
// If the folder exceeds `limit_bytes`, deletes the least recently used entries until it is well below.
void prune(const std::string& dir, uint64_t limit_bytes);
}  // namespace program_cache

}  // namespace coexec
