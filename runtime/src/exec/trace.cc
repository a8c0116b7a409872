#include "trace.h"

#include <ctime>
#include <vector>

#include "../cl/cl_error.h"
#include "../cl/device.h"
#include "json.h"

namespace coexec {
namespace {

constexpr size_t kLimit = 100000;
constexpr int kSamples = 32;  // commands per measurement of a clock

thread_local int t_node = -1;
thread_local int t_thread = -1;
std::atomic<int> g_threads{0};

cl_int read_time(const Event& e, cl_uint what, int64_t* ns) {
  cl_ulong t = 0;
  const cl_int code = e->queue->device->driver().GetEventProfilingInfo(e->handle, what, sizeof t, &t, nullptr);
  *ns = static_cast<int64_t>(t);
  return code;
}

int64_t time_of(const Event& e, cl_uint what) {
  int64_t ns = 0;
  check(read_time(e, what, &ns), [&] { return "reading the times of " + *e->label; });
  return ns;
}

// Enqueues minimal commands on the idle device.
ClockBounds measure_clock(Device& device) {
  static const auto label = std::make_shared<const std::string>("a measurement of the device's clock");
  cl_int code = CL_SUCCESS;
  const cl_uint four_bytes = 0;
  cl_mem mem = device.driver().CreateBuffer(device.context(), CL_MEM_READ_WRITE, sizeof four_bytes, nullptr, &code);
  check(code, [&] { return "allocating a buffer to measure the clock of " + device.text(); });
  ClockBounds bounds;
  try {
    for (int i = 0; i < kSamples; ++i) {
      cl_event raw = nullptr;
      const int64_t before = host_ns();
      check(device.driver().EnqueueWriteBuffer(device.transfer().handle, mem, kAsync, 0, sizeof four_bytes, &four_bytes,
                                               0, nullptr, &raw),
            [&] { return "measuring the clock of " + device.text(); });
      const Event e = device.track(device.transfer(), raw, label);
      e->wait();
      const int64_t after = host_ns();
      bounds.add(before, time_of(e, CL_PROFILING_COMMAND_QUEUED), time_of(e, CL_PROFILING_COMMAND_END), after);
    }
  } catch (...) {
    device.driver().ReleaseMemObject(mem);
    throw;
  }
  device.driver().ReleaseMemObject(mem);
  return bounds;
}

std::vector<Device*> all_devices() {
  std::vector<Device*> found;
  for (Api api : {Api::kOpenCL, Api::kVulkan}) {
    // A CPU module can be traced without devices. OpenCL's are opened for a module that has not used them yet.
    const bool used = Workspace::in_use(api) || (api == Api::kOpenCL && !Workspace::in_use(Api::kVulkan) &&
                                                 Workspace::why_unavailable(api).empty());
    if (!used) {
      continue;
    }
    Workspace& devices = Workspace::get(api);
    for (size_t i = 0; i < devices.size(); ++i) {
      found.push_back(&devices.device(static_cast<int>(i)));
    }
  }
  return found;
}

}  // namespace

const char* span_name(SpanKind kind) {
  static const char* const names[] = {"call", "launch", "upload", "download", "device copy", "elided copy", "wait",
                                      "variant"};
  return names[static_cast<size_t>(kind)];
}

int64_t host_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t{t.tv_sec} * 1000000000 + t.tv_nsec;
}

Trace& Trace::get() {
  static Trace& t = *new Trace();
  return t;
}

void Trace::add(Span span) {
  if (t_thread < 0) {
    t_thread = g_threads++;
  }
  span.thread = t_thread;
  if (span.node < 0) {
    span.node = t_node;
  }
  Span oldest{};  // its event is released outside the lock
  std::lock_guard<std::mutex> lock(mu_);
  spans_.push_back(std::move(span));
  if (spans_.size() > kLimit) {
    oldest = std::move(spans_.front());
    spans_.pop_front();
    ++dropped_;
  }
}

std::deque<Span> Trace::take_spans(size_t* dropped) {
  std::deque<Span> spans;
  std::lock_guard<std::mutex> lock(mu_);
  spans.swap(spans_);
  *dropped = dropped_;
  dropped_ = 0;
  return spans;
}

void Trace::start(bool one_at_a_time) {
  if (on()) {
    throw Error("a trace is already being recorded: finish it before starting another one");
  }
  try {
    for (Device* d : all_devices()) {
      clocks_[d->slot].profiled = d->profiling();
      d->set_profiling(true);
      clocks_[d->slot].before = measure_clock(*d);
    }
  } catch (...) {
    restore_profiling();
    throw;
  }
  size_t dropped = 0;
  take_spans(&dropped);
  one_at_a_time_ = one_at_a_time;
  on_ = true;
}

void Trace::restore_profiling() {
  std::map<int, Clock> clocks;
  clocks.swap(clocks_);
  for (const auto& [slot, clock] : clocks) {
    try {
      device_in_slot(slot).set_profiling(clock.profiled);
    } catch (const Error&) {  // a command has failed; its waiter got the error
    }
  }
}

void Trace::finish(const Event& e, int device) {
  const int64_t begin_ns = host_ns();
  e->wait();
  get().add({SpanKind::kWait, device, begin_ns, host_ns()});
}

std::string Trace::take() {
  on_ = false;
  one_at_a_time_ = false;
  struct Restore {
    Trace* trace;
    ~Restore() { trace->restore_profiling(); }
  } const restore{this};
  std::map<int, ClockMap> maps;
  std::string clocks;
  for (const auto& [slot, clock] : clocks_) {
    Device& device = device_in_slot(slot);
    try {
      device.sync(nullptr);
    } catch (const Error&) {  // as above
    }
    const ClockMap& map = maps.emplace(slot, ClockMap(clock.before, measure_clock(device))).first->second;
    clocks += (clocks.empty() ? "{\"device\": " : ", {\"device\": ") + std::to_string(slot) +
              ", \"uncertainty_ns\": " + std::to_string(map.uncertainty_ns()) + "}";
  }
  size_t dropped = 0;
  std::deque<Span> spans = take_spans(&dropped);
  std::map<std::string, size_t> indices;
  std::string names, rows;
  for (const Span& s : spans) {
    int64_t name = -1, from = 0, to = 0;
    if (s.name) {
      const auto known = indices.emplace(*s.name, indices.size());
      name = static_cast<int64_t>(known.first->second);
      if (known.second) {
        names += (names.empty() ? "" : ", ") + json_string(*s.name);
      }
    }
    const auto map = maps.find(s.device);
    // Commands that failed, and those of queues without profiling, have no times.
    if (s.event && map != maps.end() && read_time(s.event, CL_PROFILING_COMMAND_START, &from) == CL_SUCCESS &&
        read_time(s.event, CL_PROFILING_COMMAND_END, &to) == CL_SUCCESS) {
      from = map->second.host_ns(from);
      to = map->second.host_ns(to);
    } else {
      from = to = 0;
    }
    rows += std::string(rows.empty() ? "[\"" : ",\n[\"") + span_name(s.kind) + "\"";
    for (const int64_t value : {name, int64_t{s.node}, int64_t{s.thread}, s.begin_ns, s.end_ns,
                                static_cast<int64_t>(s.bytes), int64_t{s.device}, from, to}) {
      rows += ", " + std::to_string(value);
    }
    rows += "]";
  }
  return "{\"dropped\": " + std::to_string(dropped) + ", \"clocks\": [" + clocks + "], \"names\": [" + names +
         "], \"spans\": [" + rows + "]}";
}

std::string Trace::take_kernels() {
  size_t dropped = 0;
  std::string out;
  for (const Span& s : take_spans(&dropped)) {
    if (s.kind != SpanKind::kLaunch) {
      continue;
    }
    try {
      s.event->wait();
    } catch (const Error&) {  // it has no times; the caller that reads its result gets the error
      continue;
    }
    out += std::string(out.empty() ? "" : ", ") + "{\"name\": " + json_string(*s.name) +
           ", \"device\": " + std::to_string(s.device % kMaxDevices);
    out += ", \"queued_ns\": " + std::to_string(time_of(s.event, CL_PROFILING_COMMAND_QUEUED));
    out += ", \"start_ns\": " + std::to_string(time_of(s.event, CL_PROFILING_COMMAND_START));
    out += ", \"end_ns\": " + std::to_string(time_of(s.event, CL_PROFILING_COMMAND_END)) + "}";
  }
  return "{\"dropped\": " + std::to_string(dropped) + ", \"kernels\": [" + out + "]}";
}

NodeScope::NodeScope(int node) : before_(t_node) {
  t_node = node;
}

NodeScope::~NodeScope() {
  t_node = before_;
}

}  // namespace coexec
