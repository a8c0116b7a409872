// A module with the functions of a graph executor that runs whichever variant of a program is the fastest now.
#pragma once
#include <string>
#include <vector>

#include "call.h"
#include "variant.h"

namespace coexec {

// Names, of the first variant.
struct AdaptiveInputs {
  std::vector<std::string> arguments;  // inputs and weights, by index
  std::vector<std::string> inputs;
};

// Runs every variant a few times, on inputs of zeros, so that each is compiled and its time is known. `own_outputs`: the
// arrays of the first executor's outputs can't be written to at any time.
//
// Besides the functions of TVM's executor, except load_params and share_params: stats() -> JSON, and use(name): run only
// this variant from now on, or with an empty name the fastest one.
Result make_adaptive_module(std::vector<Variant> variants, AdaptiveInputs inputs, bool own_outputs,
                            std::string weight_bytes);

}  // namespace coexec
