// A command that was enqueued: shared by everything that has to wait for it.
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

// A command that has ended badly. One object is shared by it and by all that was to use its results.
class Failure {
 public:
  const cl_int code;
  const std::shared_ptr<const std::string> label;

  Failure(cl_int c, std::shared_ptr<const std::string> l) : code(c), label(std::move(l)) {}
  void tell();             // this thread was given the error
  bool told() const;       // any was
  bool told_here() const;  // this one was: what another thread waited for says nothing to the one whose data it is

 private:
  mutable std::mutex mu_;
  std::vector<std::thread::id> told_;
};

struct EventRecord {
  cl_event handle;
  const Queue* queue;  // queues are in order: a later command of the same one need not wait for this
  std::shared_ptr<const std::string> label;  // kernel name or kind of copy, for messages
  // The number that the device's flag has when this has ended (signal.h); 0: nobody asked for that.
  mutable std::atomic<uint32_t> signal{0};

  // `needs`: the commands whose results it uses. The driver itself passes failures on along wait lists only, which the
  // earlier commands of the same queue are not on.
  EventRecord(cl_event e, const Queue* q, std::shared_ptr<const std::string> l, std::vector<Event> needs)
      : handle(e), queue(q), label(std::move(l)), needs_(std::move(needs)) {}
  EventRecord(const EventRecord&) = delete;
  EventRecord& operator=(const EventRecord&) = delete;
  ~EventRecord();

  cl_int status() const;  // CL_QUEUED .. CL_COMPLETE, or a negative error code
  bool ended() const { return settled_ || status() <= CL_COMPLETE; }
  void wait() const;  // Error that names the command when it (or what it uses) has failed
  // Once it has ended: what went wrong, here or in what it uses; null if nothing did.
  std::shared_ptr<Failure> failure() const;
  bool settled() const { return settled_; }  // failure() was asked for
  // What has gone wrong by now in what it uses, or here; null if nothing is known of. For those who know from elsewhere
  // that it has done its work.
  std::shared_ptr<Failure> failure_so_far() const;

 private:
  mutable std::mutex mu_;
  mutable std::atomic<bool> settled_{false};
  mutable std::vector<Event> needs_;
  mutable std::shared_ptr<Failure> failure_;
};

// Which failed commands matter to one that comes behind them: none; those of which nobody has been told; those of which
// this thread has not been told; all.
enum class Heed { kNone, kUntold, kNews, kAll };

// Events as OpenCL wants them, with the records kept alive.
class WaitList {
 public:
  // Error if `e` has failed already and is to be heeded; one that fails later makes the waiting command fail, too.
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
