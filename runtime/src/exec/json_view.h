// Reads values out of JSON text in place, without building a tree: modules carry graphs of a megabyte, of which a few
// values are needed.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace coexec {

// A value in JSON text that outlives it; or no value. Control characters in strings are accepted, as TVM writes them.
class JsonView {
 public:
  JsonView() = default;
  explicit JsonView(std::string_view text);  // Error if it does not begin with a complete value

  explicit operator bool() const { return !text_.empty(); }
  std::string_view text() const { return text_; }  // the value as it is written
  JsonView at(std::string_view key) const;  // of an object; no value if it has no such key or is no object
  std::vector<JsonView> items() const;      // of an array; Error if it is none
  std::vector<std::pair<std::string, JsonView>> members() const;  // of an object; Error if it is none
  int64_t integer() const;                  // Error if it is none
  std::string string() const;               // without quotes and escapes; Error if it is none

 private:
  std::string_view text_;
};

}  // namespace coexec
