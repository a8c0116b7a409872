#include "vtable_check.h"

#include <dlfcn.h>

namespace coexec {
namespace {

// Whether the function has no name, as those of a C++ library that is linked statically into libtvm.
bool is_hidden(const void* function) {
  Dl_info info{};
  return dladdr(function, &info) == 0 || !info.dli_sname || info.dli_saddr != function;
}

}  // namespace

std::string check_table(const TableExpectation& expected, void* const* vtable, const Resolver& resolve) {
  if (!vtable) {
    void* symbol = resolve(expected.table);
    if (!symbol) {
      return expected.what + " has no virtual table " + expected.table;
    }
    vtable = static_cast<void* const*>(symbol) + 2;  // after offset-to-top and type info
  }
  const void* hidden_pure = nullptr;
  for (const SlotExpectation& slot : expected.slots) {
    const void* wanted = resolve(slot.symbol);
    const void* const found = vtable[slot.index];
    if (slot.symbol == kPureVirtual && found && found != wanted && is_hidden(found)) {
      hidden_pure = hidden_pure ? hidden_pure : found;
      wanted = hidden_pure;
    } else if (found == hidden_pure) {
      wanted = nullptr;  // no function may be there, or the table has another order
    }
    if (!wanted || found != wanted) {
      Dl_info info{};
      const bool named = dladdr(found, &info) != 0 && info.dli_sname;
      return "slot " + std::to_string(slot.index) + " of " + expected.what + " is " +
             (named ? info.dli_sname : "unknown") + " instead of " + slot.symbol;
    }
  }
  return "";
}

}  // namespace coexec
