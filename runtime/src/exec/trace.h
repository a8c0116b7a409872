// Records calls of compiled functions, launches, copies and waits with their times. Switched off, it costs one load of
// a flag.
#pragma once
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "../cl/event.h"
#include "clock_map.h"

namespace coexec {

enum class SpanKind : uint8_t {
  kCall,        // a compiled function, called by an executor
  kLaunch,      // the host enqueues a kernel
  kUpload,      // host memory to device memory
  kDownload,    // device memory to host memory, without the wait for the kernel that writes it
  kDeviceCopy,  // within the device
  kElidedCopy,  // between arrays that share memory: no bytes move
  kWait,        // the host waits for a command of the device
  kVariant,     // a run of one of an adaptive module's variants, with what is in it
};
const char* span_name(SpanKind kind);

int64_t host_ns();  // CLOCK_MONOTONIC, as Python's time.monotonic_ns

struct Span {
  SpanKind kind;
  int32_t device;  // its slot; -1: none
  int64_t begin_ns, end_ns;
  uint64_t bytes = 0;                         // of a copy; all in the last span of a copy that had to wait
  std::shared_ptr<const std::string> name{};  // of the kernel or function
  Event event{};                              // the device's command; has times on profiling queues
  int32_t node = -1;                          // index of the traced module's running function
  int32_t thread = 0;                         // numbered in the order of their first spans
};

class Trace {
 public:
  static Trace& get();
  static bool on() { return on_.load(std::memory_order_relaxed); }
  // To be called with each kernel and copy that was enqueued, without locks: where one at a time is recorded, waits for
  // it and records the wait. Error if the command failed. A null event is no command.
  static void finish_if_one_at_a_time(const Event& e, int device) {
    if (e && one_at_a_time_.load(std::memory_order_relaxed)) {
      finish(e, device);
    }
  }

  // Discards earlier records, measures the devices' clocks, and switches on their profiling. The devices must be idle.
  // Error if a trace is already being recorded. `one_at_a_time`: the host waits for each kernel and copy where it
  // enqueues it, so that no two commands, and no command and function of the CPU, run at the same time.
  void start(bool one_at_a_time = false);
  // Ends the recording and restores the state of profiling. JSON: {"dropped": n, "clocks": [{"device",
  // "uncertainty_ns"}], "names": [...], "spans": [[kind, name or -1, node, thread, begin, end, bytes, device, begin on
  // the device, end on the device], ...]}; times in nanoseconds of the host's clock, 0 if unknown; sorted by end.
  std::string take();
  // The kernels since profiling was switched on or since the last call, with times of the device's clock. JSON:
  // {"dropped": n, "kernels": [{"name", "device", "queued_ns", "start_ns", "end_ns"}, ...]}. Waits for running kernels.
  std::string take_kernels();

  void add(Span span);

 private:
  struct Clock {
    bool profiled;  // before
    ClockBounds before;
  };
  std::deque<Span> take_spans(size_t* dropped);
  void restore_profiling();
  static void finish(const Event& e, int device);

  inline static std::atomic<bool> on_{false};
  inline static std::atomic<bool> one_at_a_time_{false};
  std::mutex mu_;
  std::deque<Span> spans_;
  size_t dropped_ = 0;           // number of oldest spans beyond the limit
  std::map<int, Clock> clocks_;  // by device, while a trace is recorded
};

// Records the time from construction to destruction, if a trace is being recorded at construction.
class Timed {
 public:
  Timed(SpanKind kind, int device, uint64_t bytes = 0) : kind_(kind), device_(device), bytes_(bytes) {
    if (Trace::on()) {
      begin_ns_ = host_ns();
    }
  }
  ~Timed() { stop(); }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

  explicit operator bool() const { return begin_ns_ != 0; }
  void set_command(const Event& event) { event_ = event; }
  // Ends the span, records `wait`, and starts a new span after it: a wait inside a copy is not part of the copy.
  template <class F>
  void record_wait(F&& wait) {
    if (begin_ns_ == 0) {
      wait();
      return;
    }
    const int64_t from = host_ns();
    wait();
    const int64_t to = host_ns();
    Trace::get().add({kind_, device_, begin_ns_, from});
    Trace::get().add({SpanKind::kWait, device_, from, to});
    begin_ns_ = to;
  }
  void stop() {
    if (begin_ns_ != 0) {
      Trace::get().add({kind_, device_, begin_ns_, host_ns(), bytes_, nullptr, std::move(event_)});
      begin_ns_ = 0;
    }
  }

 private:
  const SpanKind kind_;
  const int device_;
  const uint64_t bytes_;
  int64_t begin_ns_ = 0;
  Event event_;
};

// Assigns the calling thread's spans to this node until the end of the scope.
class NodeScope {
 public:
  explicit NodeScope(int node);
  ~NodeScope();

 private:
  const int before_;
};

}  // namespace coexec
