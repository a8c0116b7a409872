// Events of enqueued commands, shared by all who wait for them, and the propagation of failures.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cl_api.h"

namespace coexec {

struct Queue;

struct EventRecord;
using Event = std::shared_ptr<const EventRecord>;

// The failure of a command, shared by all commands that use its results.
class Failure {
 public:
  const cl_int code;
  const std::shared_ptr<const std::string> label;

  Failure(cl_int c, std::shared_ptr<const std::string> l) : code(c), label(std::move(l)) {}
  void report();               // marks the error as reported to this thread
  bool reported() const;       // reported to any thread
  bool reported_here() const;  // reported to this thread: a report to another thread may not reach the data's owner

 private:
  mutable std::mutex mu_;
  std::vector<std::thread::id> reporters_;
};

struct EventRecord {
  cl_event handle;
  const Queue* queue;                        // in order: later commands of the same queue need not wait for this one
  std::shared_ptr<const std::string> label;  // kernel name or kind of copy, for messages
  // The value of the device's flag when this command has ended (signal.h); 0: no flag was requested.
  mutable std::atomic<uint32_t> signal{0};

  // `needs`: the commands whose results this one uses. Drivers propagate failures only along wait lists, which do not
  // contain earlier commands of the same queue.
  EventRecord(cl_event e, const Queue* q, std::shared_ptr<const std::string> l, std::vector<Event> needs)
      : handle(e), queue(q), label(std::move(l)), needs_(std::move(needs)) {}
  EventRecord(const EventRecord&) = delete;
  EventRecord& operator=(const EventRecord&) = delete;
  ~EventRecord();

  cl_int status() const;  // CL_QUEUED .. CL_COMPLETE, or a negative error code
  bool has_ended() const { return settled_ || status() <= CL_COMPLETE; }
  void wait() const;  // Error that names the failed command, if this one or one that it uses has failed
  // Once the command has ended: its failure, or that of a command that it uses; null if there is none.
  std::shared_ptr<Failure> failure() const;
  bool is_settled() const { return settled_; }  // failure() has been called
  // As failure(), but does not query whether this command has ended: for callers that know it by other means.
  std::shared_ptr<Failure> failure_so_far() const;

 private:
  mutable std::mutex mu_;
  mutable std::atomic<bool> settled_{false};
  mutable std::vector<Event> needs_;
  mutable std::shared_ptr<Failure> failure_;
};

// Which failures of earlier commands prevent a later one: none, those not reported to any thread, those not reported to
// this thread, or all.
enum class FailureFilter { kNone, kUnreported, kUnreportedHere, kAll };

// An event wait list as OpenCL takes it; it keeps the events alive.
class WaitList {
 public:
  // Throws if `e` has failed and `filter` includes the failure; if it fails later, the waiting command fails, too.
  // Events of the queue `except` are not waited for.
  void add(const Event& e, const Queue* except, FailureFilter filter);
  bool empty() const { return handles_.empty(); }
  cl_uint size() const { return static_cast<cl_uint>(handles_.size()); }
  const cl_event* data() const { return handles_.empty() ? nullptr : handles_.data(); }
  const std::vector<Event>& events() const { return keep_; }
  const std::vector<Event>& needs() const { return needs_; }
  void wait() const {
    for (const Event& e : keep_) {
      e->wait();
    }
  }

 private:
  std::vector<Event> keep_, needs_;
  std::vector<cl_event> handles_;
};

}  // namespace coexec
