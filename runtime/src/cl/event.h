// An enqueued command, shared by everything that has to wait for it.
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

// The failure of a command. One object is shared by the command and all that use its results.
class Failure {
 public:
  const cl_int code;
  const std::shared_ptr<const std::string> label;

  Failure(cl_int c, std::shared_ptr<const std::string> l) : code(c), label(std::move(l)) {}
  void tell();             // marks the error as reported to this thread
  bool told() const;       // reported to any thread
  bool told_here() const;  // reported to this thread; a report to another thread does not reach the data's owner

 private:
  mutable std::mutex mu_;
  std::vector<std::thread::id> told_;
};

struct EventRecord {
  cl_event handle;
  const Queue* queue;  // queues are in order: later commands of the same queue need not wait for this one
  std::shared_ptr<const std::string> label;  // kernel name or kind of copy, for messages
  // The value of the device's flag when this command has ended (signal.h); 0: no flag was requested.
  mutable std::atomic<uint32_t> signal{0};

  // `needs`: the commands whose results it uses. The driver propagates failures only along wait lists, which do not
  // contain earlier commands of the same queue.
  EventRecord(cl_event e, const Queue* q, std::shared_ptr<const std::string> l, std::vector<Event> needs)
      : handle(e), queue(q), label(std::move(l)), needs_(std::move(needs)) {}
  EventRecord(const EventRecord&) = delete;
  EventRecord& operator=(const EventRecord&) = delete;
  ~EventRecord();

  cl_int status() const;  // CL_QUEUED .. CL_COMPLETE, or a negative error code
  bool ended() const { return settled_ || status() <= CL_COMPLETE; }
  void wait() const;  // throws an Error that names the command if it, or one that it uses, has failed
  // Once it has ended: the failure of the command or of one that it uses; null if there is none.
  std::shared_ptr<Failure> failure() const;
  bool settled() const { return settled_; }  // failure() has been called
  // The failure known so far, of the command or of one that it uses; null if none is known. For callers that know by
  // other means that the command has ended.
  std::shared_ptr<Failure> failure_so_far() const;

 private:
  mutable std::mutex mu_;
  mutable std::atomic<bool> settled_{false};
  mutable std::vector<Event> needs_;
  mutable std::shared_ptr<Failure> failure_;
};

// Which failures matter to a later command: none; those not reported yet; those not reported to this thread; all.
enum class Heed { kNone, kUntold, kNews, kAll };

// A wait list in OpenCL's form, which keeps the records alive.
class WaitList {
 public:
  // Throws if `e` has already failed and `heed` includes it; a later failure also fails the waiting command.
  void add(const Event& e, const Queue* except, Heed heed);
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
