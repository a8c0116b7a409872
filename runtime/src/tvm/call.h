// Calls TVM's packed functions through its C API.
#pragma once
#include <string>
#include <vector>

#include "tvm_abi.h"

namespace coexec {

// What a packed function returned; owns it.
class Result {
 public:
  Result() = default;
  Result(tvm_abi::TVMValue value, int code) : value_(value), code_(code) {}
  Result(Result&& o) noexcept : value_(o.value_), code_(o.code_) { o.code_ = tvm_abi::kNull; }
  Result& operator=(Result&& o) noexcept;
  ~Result();

  int code() const { return code_; }
  void* handle() const { return value_.v_handle; }
  int64_t integer() const { return value_.v_int64; }
  std::string string() const;  // of a C string, or of TVM's String
  int forward(void* ret) const;  // as the result of the function that is being called

 private:
  tvm_abi::TVMValue value_{};
  int code_ = tvm_abi::kNull;
};

// Arguments of a call. They must outlive it.
class Arguments {
 public:
  Arguments& add(int64_t value);
  Arguments& add(const char* text);
  Arguments& add(const std::string& text) { return add(text.c_str()); }
  Arguments& add(int32_t value) { return add(int64_t{value}); }
  Arguments& add(tvm_abi::DLDevice device);
  Arguments& add(void* handle, int code);
  Arguments& add(const Result& result) { return add(result.handle(), result.code()); }

  // Error, with TVM's message, if the function fails.
  Result call(const tvm_abi::Ref& function);

 private:
  std::vector<tvm_abi::TVMValue> values_;
  std::vector<int> codes_;
};

bool has_global(const char* name);  // whether TVM has a global function of that name
tvm_abi::Ref global_function(const char* name);  // Error if TVM has none
// A module's own function; null if it has none.
tvm_abi::Ref module_function(void* module, const char* name);

}  // namespace coexec
