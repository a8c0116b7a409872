// The path that is taken when a TVM of another shape is loaded.
#include "tvm/vtable_check.h"

#include <map>

#include "check.h"

using namespace coexec;

namespace {

int f_a, f_b, f_other;  // addresses that stand for functions

const TableExpectation kExpected = {"tvm::Thing", "_ZTV5Thing", {{0, "a"}, {2, "b"}}};

struct Library {
  void* table[6] = {nullptr, nullptr, &f_a, &f_other, &f_b, nullptr};  // offset to top, type info, slots
  std::map<std::string, void*> symbols = {{"_ZTV5Thing", table}, {"a", &f_a}, {"b", &f_b}};
  Resolver resolver() {
    return [this](const std::string& name) {
      const auto it = symbols.find(name);
      return it == symbols.end() ? nullptr : it->second;
    };
  }
};

}  // namespace

TEST(vtable, fits) {
  Library lib;
  CHECK_EQ(check_table(kExpected, nullptr, lib.resolver()), "");
  CHECK_EQ(check_table(kExpected, lib.table + 2, lib.resolver()), "");
}

TEST(vtable, a_slot_with_another_function_is_named) {
  Library lib;
  lib.table[4] = &f_other;  // a version that has inserted a function
  const std::string text = check_table(kExpected, nullptr, lib.resolver());
  CHECK(contains(text, "slot 2 of tvm::Thing") && contains(text, "instead of b"));
}

TEST(vtable, a_function_with_another_signature_is_not_exported) {
  Library lib;
  lib.symbols.erase("a");
  CHECK(contains(check_table(kExpected, nullptr, lib.resolver()), "slot 0 of tvm::Thing"));
}

TEST(vtable, a_missing_table_is_named) {
  Library lib;
  lib.symbols.erase("_ZTV5Thing");
  CHECK(contains(check_table(kExpected, nullptr, lib.resolver()), "_ZTV5Thing"));
}

// Slots without a body, as in a libtvm with a hidden C++ library.
TEST(vtable, hidden_pure_functions_are_one_function) {
  static int f_pure, f_real;
  void* table[] = {&f_pure, &f_real, &f_pure};
  const TableExpectation wanted = {"tvm::Thing", "", {{0, kPureVirtual}, {1, "real"}, {2, kPureVirtual}}};
  const Resolver resolve = [](const std::string& name) -> void* { return name == "real" ? &f_real : nullptr; };
  CHECK_EQ(check_table(wanted, table, resolve), "");
  void* other[] = {&f_pure, &f_real, &f_other};  // one more function at the end
  CHECK(contains(check_table(wanted, other, resolve), "slot 2 of tvm::Thing"));
  void* moved[] = {&f_pure, &f_pure, &f_real};  // another order
  CHECK(contains(check_table(wanted, moved, resolve), "slot 1 of tvm::Thing"));
  const auto pure_is_real = [](const std::string&) -> void* { return &f_real; };
  void* known[] = {&f_real, &f_real, &f_real};
  CHECK_EQ(check_table(wanted, known, pure_is_real), "");
}
