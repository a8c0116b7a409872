#include "variant_stats.h"

#include <algorithm>
#include <cstdio>

#include "json.h"

namespace coexec {
namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

const char* why_name(VariantPolicy::Why why) {
  switch (why) {
    case VariantPolicy::Why::kProbe:
      return "probe";
    case VariantPolicy::Why::kFaster:
      return "faster";
    default:
      return "asked";
  }
}

std::string decision_json(const VariantPolicy::Decision& d, const std::vector<std::string>& names) {
  return "{\"run\": " + std::to_string(d.run) + ", \"at_s\": " + number(d.at_s) +
         ", \"from\": " + json_string(names[d.from]) + ", \"to\": " + json_string(names[d.to]) + ", \"why\": \"" +
         why_name(d.why) + "\"}";
}

}  // namespace

std::string policy_json(const VariantPolicy& policy, const std::vector<std::string>& names,
                        const std::string& weight_bytes) {
  std::string variants, decisions;
  for (size_t v = 0; v < names.size(); ++v) {
    const VariantPolicy::Known& known = policy.known()[v];
    // The policy remembers the best of whole windows, and `now_s` may be of fewer runs.
    const double best_s = std::min(known.best_s, known.now_s);
    variants += (v ? ", " : "") + json_string(names[v]) + ": {\"runs\": " + std::to_string(known.runs) +
                ", \"now_s\": " + number(known.now_s) + ", \"best_s\": " + number(best_s) +
                ", \"total_s\": " + number(known.total_s) + "}";
  }
  for (const VariantPolicy::Decision& d : policy.decisions()) {
    decisions += (decisions.empty() ? "" : ", ") + decision_json(d, names);
  }
  return "{\"variant\": " + json_string(names[policy.current()]) +
         ", \"switches\": " + std::to_string(policy.switches()) + ", \"probes\": " + std::to_string(policy.probes()) +
         ", \"probe_cost_s\": " + number(policy.probe_cost_s()) + ", \"run_s\": " + number(policy.clock_s()) +
         ", \"weight_bytes\": " + (weight_bytes.empty() ? "{}" : weight_bytes) + ", \"variants\": {" + variants +
         "}, \"decisions\": [" + decisions + "]}";
}

}  // namespace coexec
