// Kernel binaries on disk: a driver takes from tenths of seconds to half a minute for a kernel, and every process would
// pay it again.
#pragma once
#include <cstdint>
#include <string>

#include "../cl/device.h"

namespace coexec {

// Builds `source` (OpenCL C of kernel `name`) for the device, from the cache if it is there. Error with the build log
// if it can't be. Drivers with a cache of their own (pocl) are left to it, unless the user has named a folder. The
// entry's name is the hash of source, options, device, driver and platform version, so a new driver never sees an old
// binary.
cl_program build_program(Device& device, const std::string& name, const std::string& source);

// Entries: one file each, written beside and renamed, so that a reader never sees half of one. The payload's length and
// hash are checked; an entry that is damaged, or that the driver refuses, is deleted and built anew. Only build_program
// and tests need these.
namespace program_cache {
enum class Found { kNo, kYes, kDamaged };
Found read(const std::string& path, const std::string& key, std::string* binary);
bool write(const std::string& dir, const std::string& path, const std::string& key, const std::string& binary);
// Deletes the entries that were not used for longest until the folder is well below `limit_bytes`, if it is above.
void prune(const std::string& dir, uint64_t limit_bytes);
}  // namespace program_cache

}  // namespace coexec
