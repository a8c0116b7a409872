#include "vtable_check.h"

#include <dlfcn.h>

namespace coexec {

std::string check_table(const TableExpectation& expected, void* const* vtable, const Resolver& resolve) {
  if (!vtable) {
    void* symbol = resolve(expected.table);
    if (!symbol) {
      return expected.what + " has no virtual table " + expected.table;
    }
    vtable = static_cast<void* const*>(symbol) + 2;  // after offset-to-top and type info
  }
  for (const SlotExpectation& slot : expected.slots) {
    const void* wanted = resolve(slot.symbol);
    if (!wanted || vtable[slot.index] != wanted) {
      Dl_info info{};
      const bool named = dladdr(vtable[slot.index], &info) != 0 && info.dli_sname;
      return "slot " + std::to_string(slot.index) + " of " + expected.what + " is " +
             (named ? info.dli_sname : "unknown") + " instead of " + slot.symbol;
    }
  }
  return "";
}

}  // namespace coexec
