// runtime_unit_tests [group]: exit code 0 if all tests (of the group) pass; prints one line per test.
#include <cstdio>

#include "check.h"

int main(int argc, char** argv) {
  int run = 0, failed = 0;
  for (const Test& t : tests()) {
    if (argc > 1 && t.group != argv[1]) {
      continue;
    }
    ++run;
    try {
      t.run();
      std::printf("ok   %s.%s\n", t.group.c_str(), t.name.c_str());
    } catch (const std::exception& e) {
      ++failed;
      std::printf("FAIL %s.%s line %s\n", t.group.c_str(), t.name.c_str(), e.what());
    }
  }
  std::printf("%d tests, %d failed\n", run, failed);
  return failed != 0 || run == 0;
}
