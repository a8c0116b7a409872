// Before anything is registered: do our declarations fit the libtvm of this process?
#pragma once
#include <string>

namespace coexec {

// "" or what differs: the first slot of a virtual table that is not what it should be, or a field that is elsewhere.
std::string abi_mismatch();

}  // namespace coexec
