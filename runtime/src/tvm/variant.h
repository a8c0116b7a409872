// A program of an adaptive module.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "call.h"
#include "output_links.h"

namespace coexec {

// One program and its executor.
struct Variant {
  std::string name;
  std::shared_ptr<const std::string> span;  // its name in traces
  Result executor;
  tvm_abi::Ref run;
  std::vector<OutputLink> outputs;
};

// A function of the graph executor; Error if it has none of that name.
tvm_abi::Ref executor_function(const Result& executor, const char* name);

}  // namespace coexec
