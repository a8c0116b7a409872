// Before anything is registered: do our declarations fit the libtvm of this process?
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace coexec {

// Slot `index` of a virtual table must hold the address of the exported symbol `symbol`. The mangled name carries the full signature,
// so order and parameter types are both checked. Addresses are compared, not names: linkers merge functions with equal bodies.
struct SlotExpectation {
  int index;
  std::string symbol;
};

struct TableExpectation {
  std::string what;   // for the message
  std::string table;  // symbol of the virtual table; empty: the caller has its address
  std::vector<SlotExpectation> slots;
};

using Resolver = std::function<void*(const std::string&)>;

// "" or one sentence that names the first slot that differs. `vtable` points at slot 0 (null: look `table` up).
std::string check_table(const TableExpectation& expected, void* const* vtable, const Resolver& resolve);

// Everything we rely on, in the libtvm that is loaded: "" or what differs.
std::string abi_mismatch();

}  // namespace coexec
