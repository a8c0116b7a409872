#include "output_links.h"

#include <set>
#include <utility>

namespace coexec {
namespace {

bool is_view(const JsonView& node) {
  return node.at("op").string() != "null" && node.at("attrs").at("func_name").string() == "__nop";
}

}  // namespace

std::vector<OutputLink> find_output_links(const JsonView& graph) {
  const std::vector<JsonView> nodes = graph.at("nodes").items();
  std::vector<OutputLink> found;
  std::set<std::pair<int64_t, int64_t>> seen;
  for (const JsonView& head : graph.at("heads").items()) {
    const std::vector<JsonView> at = head.items();
    JsonView node = nodes.at(static_cast<size_t>(at.at(0).integer()));
    const bool view = is_view(node), again = !seen.insert({at[0].integer(), at.at(1).integer()}).second;
    while (is_view(node)) {
      const std::vector<JsonView> inputs = node.at("inputs").items();
      if (inputs.empty()) {
        break;
      }
      node = nodes.at(static_cast<size_t>(inputs[0].items().at(0).integer()));
    }
    found.push_back(node.at("op").string() == "null" ? OutputLink::kInput
                    : view || again                  ? OutputLink::kCopied
                                                     : OutputLink::kWritten);
  }
  return found;
}

}  // namespace coexec
