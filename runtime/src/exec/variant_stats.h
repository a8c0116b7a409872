// What a policy has measured and decided, for Python and C.
#pragma once
#include <string>
#include <vector>

#include "variant_policy.h"

namespace coexec {

// JSON, as executor/adaptive.py describes it; `weight_bytes` is JSON, too, or empty.
std::string policy_json(const VariantPolicy& policy, const std::vector<std::string>& names,
                        const std::string& weight_bytes);

}  // namespace coexec
