// Checks that our declarations match the libtvm of this process; done before anything is registered.
#pragma once
#include <string>

namespace coexec {

// "", or the first difference: a wrong slot of a virtual table, or a field at another offset.
std::string abi_mismatch();

}  // namespace coexec
