// How the outputs of an executor get to where another program's outputs are.
#pragma once
#include <cstdint>
#include <vector>

#include "../exec/json_view.h"

namespace coexec {

enum class OutputLink : uint8_t {
  kWritten,  // a function writes it: the executor can let it write elsewhere (set_output_zero_copy)
  kCopied,   // a view of something else, or returned twice: to be copied after each run
  kInput,    // an input or a weight, which all programs share
};

// For each output of an executor's graph.
std::vector<OutputLink> find_output_links(const JsonView& graph);

}  // namespace coexec
