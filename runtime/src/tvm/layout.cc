#include "layout.h"

#include <algorithm>

#include "../cl/cl_error.h"
#include "../cl/device.h"
#include "../exec/json_view.h"
#include "../exec/signal.h"
#include "executor.h"
#include "gpu_api.h"

namespace coexec {
namespace {

using namespace tvm_abi;

const int64_t kPlanVersion = 1;

const char* layout_of(MemoryMode mode) {
  switch (mode) {
    case MemoryMode::kFineSvm:
      return "shared";
    case MemoryMode::kCoarseSvm:
    case MemoryMode::kHostPtr:
      return "mapped";
    default:
      return "copied";
  }
}

std::vector<std::string> strings(const JsonView& array) {
  std::vector<std::string> found;
  for (const JsonView& v : array.items()) {
    found.push_back(v.string());
  }
  return found;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::optional<DLDevice> device_of_type(const std::vector<DLDevice>& devices, int32_t type) {
  const auto found = std::find_if(devices.begin(), devices.end(), [&](DLDevice d) { return d.device_type == type; });
  return found == devices.end() ? std::nullopt : std::optional(*found);
}

}  // namespace

std::string layout_name(const Device& device) {
  try {
    return layout_of(device.memory());
  } catch (const Error&) {
    return "";
  }
}

std::optional<Layout> find_layout(const std::string& graph_json, const CreateOptions& options,
                                  const std::vector<DLDevice>& devices) {
  const auto cpu = device_of_type(devices, kDLCPU);
  const auto found_gpu = std::find_if(devices.begin(), devices.end(), [](DLDevice d) {
    const auto api = api_of(d);
    return api && serves_own(*api);
  });
  if (!cpu || found_gpu == devices.end()) {
    return std::nullopt;
  }
  const JsonView plan = options.memory.empty() ? JsonView(graph_json).at("metadata").at("coexec").at("memory")
                                               : JsonView(options.memory);
  if (!plan || plan.at("version").text() != std::to_string(kPlanVersion)) {
    return std::nullopt;
  }
  if (const JsonView refusal = plan.at("refusal")) {
    throw Error(refusal.string());
  }
  Device& device = Workspace::get(*api_of(*found_gpu)).device(found_gpu->device_id);
  if (device.options.blocking_copies) {
    return std::nullopt;
  }
  const JsonView layout = plan.at("layouts").at(layout_of(device.memory()));
  if (!layout) {
    return std::nullopt;  // no valid one was found when the module was compiled, which was reported then
  }
  Layout found;
  found.graph = std::string(layout.at("graph").text());
  // The way to wait is measured here, at the first call in the process, rather than in the first run.
  if (device.memory() == MemoryMode::kFineSvm && Signals::of(device).method() != WaitMethod::kFlag) {
    found.graph = replace_all(std::move(found.graph), R"("func_name":"coexec_signal")", R"("func_name":"__nop")");
  }
  for (const JsonView& block : layout.at("blocks").items()) {
    const std::vector<JsonView> fields = block.items();
    found.blocks.push_back({fields.at(0).string() == "cpu", fields.at(1).integer(),
                            fields.size() > 2 ? fields[2].string() : std::string()});
  }
  for (const JsonView& storage : layout.at("storages").items()) {
    const std::vector<JsonView> fields = storage.items();
    found.storages.push_back({fields.at(0).integer() == kDLCPU, static_cast<size_t>(fields.at(1).integer()),
                              fields.at(2).integer(), fields.at(3).integer()});
  }
  found.weights = strings(plan.at("weights"));
  const std::vector<std::string> launching = strings(plan.at("launching"));
  found.launching = {launching.begin(), launching.end()};
  found.alignment = static_cast<uintptr_t>(plan.at("alignment").integer());
  found.cpu = *cpu;
  found.gpu = *found_gpu;
  return found;
}

}  // namespace coexec
