// A few lines of test framework: TEST(group, name) { CHECK(...); CHECK_EQ(a, b); }
#pragma once
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Test {
  std::string group, name;
  std::function<void()> run;
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

struct Registration {
  Registration(const char* group, const char* name, std::function<void()> run) {
    tests().push_back({group, name, run});
  }
};

#define TEST(group, name)                                                              \
  static void test_##group##_##name();                                                 \
  static Registration register_##group##_##name(#group, #name, test_##group##_##name); \
  static void test_##group##_##name()

#define CHECK(condition)                                                              \
  do {                                                                                \
    if (!(condition)) {                                                               \
      throw std::runtime_error(std::to_string(__LINE__) + ": not true: " #condition); \
    }                                                                                 \
  } while (0)

#define CHECK_EQ(a, b)                                                 \
  do {                                                                 \
    const auto& left = (a);                                            \
    const auto& right = (b);                                           \
    if (!(left == right)) {                                            \
      std::ostringstream text;                                         \
      text << __LINE__ << ": " #a " is " << left << ", not " << right; \
      throw std::runtime_error(text.str());                            \
    }                                                                  \
  } while (0)

// Runs f, which must throw; returns the message.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  throw std::runtime_error("nothing was thrown");
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
