#include "call.h"

#include <utility>

#include "../cl/cl_error.h"
#include "packed.h"

namespace coexec {

using namespace tvm_abi;

Result& Result::operator=(Result&& o) noexcept {
  std::swap(value_, o.value_);
  std::swap(code_, o.code_);
  return *this;
}

Result::~Result() {
  switch (code_) {
    case kObjectHandle:
    case kModuleHandle:
    case kPackedFuncHandle:
      TVMObjectFree(value_.v_handle);
      break;
    case kNDArrayHandle:
      TVMArrayFree(value_.v_handle);
  }
}

std::string Result::string() const {
  if (code_ == kStr) {
    return value_.v_str;
  }
  if (code_ != kObjectHandle) {
    throw Error("TVM returned a value of type code " + std::to_string(code_) + " where a string is expected");
  }
  const auto* s = static_cast<const StringObj*>(value_.v_handle);
  return std::string(s->data, s->size);
}

int Result::forward(void* ret) const {
  return code_ == kNull ? 0 : return_value(ret, value_, code_);
}

Arguments& Arguments::add(int64_t value) {
  TVMValue v;
  v.v_int64 = value;
  values_.push_back(v);
  codes_.push_back(kInt);
  return *this;
}

Arguments& Arguments::add(const char* text) {
  TVMValue v;
  v.v_str = text;
  values_.push_back(v);
  codes_.push_back(kStr);
  return *this;
}

Arguments& Arguments::add(DLDevice device) {
  TVMValue v{};
  v.v_device = device;
  values_.push_back(v);
  codes_.push_back(kDevice);
  return *this;
}

Arguments& Arguments::add(void* handle, int code) {
  TVMValue v;
  v.v_handle = handle;
  values_.push_back(v);
  codes_.push_back(code);
  return *this;
}

Result Arguments::call(const Ref& function) {
  TVMValue out{};
  int code = kNull;
  if (TVMFuncCall(function.get(), values_.data(), codes_.data(), static_cast<int>(values_.size()), &out, &code) != 0) {
    throw Error(last_tvm_error());
  }
  return Result(out, code);
}

bool has_global(const char* name) {
  void* found = nullptr;
  if (TVMFuncGetGlobal(name, &found) != 0 || !found) {
    return false;
  }
  TVMFuncFree(found);
  return true;
}

Ref global_function(const char* name) {
  void* found = nullptr;
  if (TVMFuncGetGlobal(name, &found) != 0 || !found) {
    throw Error("this TVM has no global function " + std::string(name));
  }
  return Ref(found);
}

Ref module_function(void* module, const char* name) {
  void* found = nullptr;
  if (TVMModGetFunction(module, name, 0, &found) != 0) {
    throw Error(last_tvm_error());
  }
  return Ref(found);
}

}  // namespace coexec
