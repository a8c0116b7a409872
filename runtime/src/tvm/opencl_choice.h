// Which OpenCL runtime serves TVM's opencl devices: this one, or, in a TVM built with USE_OPENCL=ON, TVM's own.
//
// Where TVM has its own, this runtime can be registered in its place: TVM then gets a device API and functions that
// pass each call on to the chosen runtime. Arrays and modules of one runtime mean nothing to the other, so the choice
// is final once the first of either exists.
#pragma once
#include <string>

namespace coexec {

// Registers this runtime, or chooses TVM's own, as TVM_COEXEC_OPENCL asks. Returns why TVM has no OpenCL then, or "".
std::string register_opencl();

// For tests: whether TVM_COEXEC_OPENCL is as-tvm, by which this runtime takes the place of a TVM's own OpenCL, with
// copies as TVM makes them.
bool poses_as_tvm();

bool serves_own_opencl();           // whether this runtime serves TVM's opencl devices
std::string why_tvms_own_opencl();  // why TVM's own does; "" if it does not

// Chooses "own" or "tvm". Error, with the reason, if that is impossible or too late.
void use_opencl(const std::string& name);

}  // namespace coexec
