#include "signal.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "../cl/affinity.h"
#include "../cl/cl_error.h"
#include "kernel.h"

namespace coexec {
namespace {

using Clock = std::chrono::steady_clock;

constexpr WaitMethod kMethods[] = {WaitMethod::kEvent, WaitMethod::kPoll, WaitMethod::kFlag};
constexpr int kRuns = 15, kWarmUp = 3;
constexpr int64_t kBusySteps = 60000;  // about a tenth of a millisecond
// After this time the host sleeps: for so long a kernel a late wake-up is negligible, and other threads can use the
// core.
constexpr std::chrono::milliseconds kSpin{20};
constexpr int kPollsPerCheck = 64;  // polls between checks of the clock and the event

const char* const kSource = R"(
__kernel void coexec_signal(__global int* flag, int number) {
  flag[0] = number;
}
__kernel void coexec_busy(__global int* data, int n) {
  int x = data[0];
  for (int i = 0; i < n; ++i) {
    x = x * 1664525 + 1013904223;
  }
  data[0] = x;
}
)";

// The same for Vulkan. A number is the struct's first member, next to that of TVM's generator.
const char* const kWgslHead = R"(
@group(0) @binding(0) var<storage, read_write> data : array<i32>;

struct PODArgs {
  number: i32,
  packGridDimX: u32
}
@group(0) @binding(1) var<uniform> podArgs : PODArgs;

@compute @workgroup_size(1, 1, 1)
fn )";
const char* const kWgslSignal = R"(() {
  data[0] = podArgs.number;
}
)";
const char* const kWgslBusy = R"(() {
  var x : i32 = data[0];
  for (var i : i32 = 0; i < podArgs.number; i++) {
    x = x * 1664525 + 1013904223;
  }
  data[0] = x;
}
)";

std::string source_for(Api api, const char* name, const char* wgsl_body) {
  return api == Api::kOpenCL ? std::string(kSource) : std::string(kWgslHead) + name + wgsl_body;
}

FunctionInfo info(const char* name) {
  return {name, {parse_dtype("handle"), parse_dtype("int32")}, {"blockIdx.x"}};
}

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  asm volatile("yield");
#endif
}

}  // namespace

// The flag is a number in its own region that increases, with wrap-around.
struct Signals::Flag {
  explicit Flag(Device& device)
      : region(allocate_region(device, 64, 64)),
        data(allocate_region(device, 64, 64)),
        signal("coexec_signal", info("coexec_signal"), source_for(device.api(), "coexec_signal", kWgslSignal),
               device.api()),
        busy("coexec_busy", info("coexec_busy"), source_for(device.api(), "coexec_busy", kWgslBusy), device.api()) {
    if (device.memory() == MemoryMode::kFineSvm) {
      std::fill(region->base, region->base + 64, 0);
    }
  }
  // Whether the flag has reached `number`; if so, everything written before it is visible.
  bool has_reached(uint32_t number) const {
    const uint32_t now = *reinterpret_cast<volatile const uint32_t*>(region->base);
    std::atomic_thread_fence(std::memory_order_acquire);
    return static_cast<int32_t>(now - number) >= 0;
  }
  void launch(Kernel& kernel, char* address, int64_t value) const {
    Argument args[2];
    args[0].address = address;
    args[1].i = value;
    const int64_t one = 1;
    kernel.launch(args, &one);
  }
  RegionPtr region, data;
  Kernel signal, busy;
  uint32_t last = 0;  // the last number assigned
};

Signals& Signals::of(Device& device) {
  // Never destroyed or resized, as the list of devices; hence no lock.
  static std::vector<Signals>& all = *new std::vector<Signals>(kMaxSlots);
  Signals& s = all[device.slot];
  std::lock_guard<std::mutex> lock(s.mu_);
  s.device_ = &device;
  return s;
}

Signals::Flag& Signals::flag() {
  std::lock_guard<std::mutex> lock(mu_);
  if (!flag_) {
    flag_ = new Flag(*device_);
  }
  return *flag_;
}

bool Signals::works(WaitMethod method) const {
  return method != WaitMethod::kFlag ||
         (device_->memory() == MemoryMode::kFineSvm && (device_->info.svm & CL_DEVICE_SVM_ATOMICS));
}

WaitMethod Signals::method() {
  if (method_ == WaitMethod::kAuto) {
    std::lock_guard<std::mutex> lock(measuring_);
    if (method_ == WaitMethod::kAuto) {
      run_unconfined([&] { measure(); });  // TVM pins its main thread to one core, which the device may use
    }
  }
  return method_;
}

void Signals::measure() {
  const WaitMethod wanted = device_->options.wait;
  if (wanted != WaitMethod::kAuto && !works(wanted)) {
    throw Error(std::string(device_->api() == Api::kOpenCL ? "TVM_COEXEC_OPENCL_WAIT=" : "TVM_COEXEC_VULKAN_WAIT=") +
                std::string(wait_method_name(wanted)) + " is not possible on " + device_->text() +
                ", which has no fine-grained shared memory with atomics: use auto, event or poll");
  }
  std::vector<double> seconds[4];
  for (int run = -kWarmUp; run < kRuns; ++run) {
    for (WaitMethod m : kMethods) {  // interleaved, so that other load on the machine affects all methods alike
      if (works(m)) {
        const double s = measure_wait_seconds(m);
        if (run >= 0) {
          seconds[static_cast<int>(m)].push_back(s);
        }
      }
    }
  }
  WaitMethod best = WaitMethod::kEvent;
  for (WaitMethod m : kMethods) {
    auto& found = seconds[static_cast<int>(m)];
    if (found.empty()) {
      continue;
    }
    std::nth_element(found.begin(), found.begin() + kRuns / 2, found.end());
    seconds_[static_cast<int>(m)] = found[kRuns / 2];
    // Prefer the simpler method unless the difference exceeds the noise of the measurement.
    if (found[kRuns / 2] < 0.95 * seconds_[static_cast<int>(best)]) {
      best = m;
    }
  }
  method_ = wanted == WaitMethod::kAuto ? best : wanted;
}

double Signals::measure_wait_seconds(WaitMethod method) {
  Flag& f = flag();
  device_->sync(nullptr);
  const auto begin = Clock::now();
  f.launch(f.busy, f.data->base, kBusySteps);
  const Event event = device_->current().last();
  const auto launched = Clock::now();
  if (method == WaitMethod::kFlag) {
    enqueue_flag_after(event);
  }
  // The host's time to enqueue the flag overlaps with the kernel here, but not in a run that is bound by the host.
  const auto enqueueing = Clock::now() - launched;
  wait_by(method, event);
  return std::chrono::duration<double>(Clock::now() - begin + enqueueing).count();
}

std::string Signals::measured_json() {
  method();
  std::string out = std::string("{\"method\": \"") + wait_method_name(method_) + "\"";
  for (WaitMethod m : kMethods) {
    if (seconds_[static_cast<int>(m)] > 0) {
      char seconds[32];
      std::snprintf(seconds, sizeof seconds, "%.9f", seconds_[static_cast<int>(m)]);
      out += std::string(", \"") + wait_method_name(m) + "\": " + seconds;
    }
  }
  return out + "}";
}

void Signals::signal(Region& region, size_t offset, size_t n) {
  if (method_ != WaitMethod::kFlag) {
    return;
  }
  WaitList writers;
  {
    std::lock_guard<std::mutex> lock(region.mu);
    region.order(Access::kRead, nullptr, &writers, offset, n);
  }
  for (const Event& e : writers.events()) {
    enqueue_flag_after(e);
  }
}

void Signals::enqueue_flag_after(const Event& event) {
  Flag& f = flag();
  std::lock_guard<std::mutex> lock(mu_);
  // Numbers are ordered only within one queue.
  if (event->queue != &device_->compute() || &device_->current() != event->queue) {
    return;
  }
  f.last += f.last + 1 == 0 ? 2 : 1;
  {
    // Drop the earlier signals from the region's history, although they may still be pending: the in-order queue orders
    // them. A failed one would make this launch fail, which may belong to another module; its own waiter falls back to
    // the kernel's event.
    std::lock_guard<std::mutex> flag_lock(f.region->mu);
    f.region->record_host_write(0, f.region->bytes);
  }
  f.launch(f.signal, f.region->base, static_cast<int32_t>(f.last));
  event->signal = f.last;
}

void Signals::wait(const Event& event) {
  wait_by(method_, event);
}

bool Signals::has_ended(WaitMethod method, const Event& event, uint32_t number) const {
  return method == WaitMethod::kFlag && number ? flag_.load()->has_reached(number) : event->has_ended();
}

void Signals::wait_by(WaitMethod method, const Event& event) {
  if (method == WaitMethod::kPoll || method == WaitMethod::kFlag) {
    const uint32_t number = event->signal;
    const auto until = Clock::now() + kSpin;
    for (int polls = 1; !has_ended(method, event, number); ++polls) {
      pause();
      if (polls % kPollsPerCheck == 0 && (event->has_ended() || Clock::now() > until)) {
        break;
      }
    }
    if (has_ended(method, event, number) && event->status() >= 0 && !event->failure_so_far() && !event->failure()) {
      return;
    }
  }
  event->wait();
}

}  // namespace coexec
