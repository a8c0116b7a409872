#include "profile.h"

#include "../cl/cl_error.h"
#include "json.h"

namespace coexec {
namespace {

constexpr size_t kLimit = 100000;

cl_ulong time_of(const Event& e, cl_uint what) {
  cl_ulong t = 0;
  check(cl().GetEventProfilingInfo(e->handle, what, sizeof t, &t, nullptr),
        [&] { return "reading the times of " + *e->label; });
  return t;
}

}  // namespace

Profile& Profile::get() {
  static Profile& p = *new Profile();
  return p;
}

void Profile::add(const std::string& kernel, int device, Event event) {
  std::lock_guard<std::mutex> lock(mu_);
  entries_.push_back({kernel, device, std::move(event)});
  if (entries_.size() > kLimit) {
    entries_.pop_front();
    ++dropped_;
  }
}

std::string Profile::take_json() {
  std::deque<Entry> taken;
  size_t dropped = 0;
  {
    std::lock_guard<std::mutex> lock(mu_);
    taken.swap(entries_);
    std::swap(dropped, dropped_);
  }
  std::string out = "{\"dropped\": " + std::to_string(dropped) + ", \"kernels\": [";
  bool first = true;
  for (const Entry& e : taken) {
    try {
      e.event->wait();
    } catch (const Error&) {  // it has no times; whoever needs its result is told why
      continue;
    }
    out += std::string(first ? "" : ", ") + "{\"name\": " + json_string(e.kernel) +
           ", \"device\": " + std::to_string(e.device);
    out += ", \"queued_ns\": " + std::to_string(time_of(e.event, CL_PROFILING_COMMAND_QUEUED));
    out += ", \"start_ns\": " + std::to_string(time_of(e.event, CL_PROFILING_COMMAND_START));
    out += ", \"end_ns\": " + std::to_string(time_of(e.event, CL_PROFILING_COMMAND_END)) + "}";
    first = false;
  }
  return out + "]}";
}

}  // namespace coexec
