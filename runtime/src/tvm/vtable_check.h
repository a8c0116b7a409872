// Compares a virtual table with the expected one. Independent of TVM.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace coexec {

// Slot `index` of a virtual table must hold the address of the exported symbol `symbol`. The mangled name contains the
// signature, so order and parameter types are both checked. Addresses are compared instead of names, because linkers
// merge functions with equal bodies.
//
// The exception is kPureVirtual, the function of the C++ library in slots without a body: a libtvm that has that library
// in itself (Android's c++_static) may hide it. All such slots of a table must then hold one address without a name.
constexpr char kPureVirtual[] = "__cxa_pure_virtual";

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

// "" or the first difference. `vtable` points to slot 0 (null: `table` is looked up).
std::string check_table(const TableExpectation& expected, void* const* vtable, const Resolver& resolve);

}  // namespace coexec
