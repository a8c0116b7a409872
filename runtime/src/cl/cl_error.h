// Errors of this runtime: one sentence with the failed operation and the name of the OpenCL error.
#pragma once
#include <stdexcept>
#include <string>

#include "cl_api.h"

namespace coexec {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// "CL_INVALID_KERNEL_ARGS (-52)".
std::string error_name(cl_int code);

// What a driver says about the error that its call is about to return, for `raise` on this thread; "": nothing.
void set_error_detail(cl_int code, std::string text);
cl_int error_detail_code();

// Throws Error("<what> failed: <name of code>[, hint][: detail]").
[[noreturn]] void raise(cl_int code, const std::string& what);

// Raises unless code is CL_SUCCESS. `what` may be a callable that returns the text, so that hot paths build it only for
// an error.
inline void check(cl_int code, const char* what) {
  if (code != CL_SUCCESS) {
    raise(code, what);
  }
}

template <class F>
auto check(cl_int code, F&& what) -> decltype(std::string(what()), void()) {
  if (code != CL_SUCCESS) {
    raise(code, what());
  }
}

}  // namespace coexec
