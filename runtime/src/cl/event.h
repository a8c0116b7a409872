// A command that was enqueued: shared by everything that has to wait for it.
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "cl_api.h"

namespace coexec {

struct Queue;

struct EventRecord {
  cl_event handle;
  const Queue* queue;  // queues are in order: a later command of the same one need not wait for this
  std::shared_ptr<const std::string> label;  // kernel name or kind of copy, for messages
  // The number that the device's flag has when this has ended (signal.h); 0: nobody asked for that.
  mutable std::atomic<uint32_t> signal{0};

  EventRecord(cl_event e, const Queue* q, std::shared_ptr<const std::string> l)
      : handle(e), queue(q), label(std::move(l)) {}
  EventRecord(const EventRecord&) = delete;
  EventRecord& operator=(const EventRecord&) = delete;
  ~EventRecord();

  cl_int status() const;  // CL_QUEUED .. CL_COMPLETE, or a negative error code
  bool completed() const { return status() == CL_COMPLETE; }
  bool ended() const { return status() <= CL_COMPLETE; }
  void wait() const;  // Error that names the command when it (or what it waited for) has failed
};

using Event = std::shared_ptr<const EventRecord>;

// Events as OpenCL wants them, with the records kept alive.
class WaitList {
 public:
  // `failures`: also wait for what has failed, which makes the waiting command fail too.
  void add(const Event& e, const Queue* except, bool failures) {
    if (e && e->queue != except && !(failures ? e->completed() : e->ended())) {
      keep_.push_back(e);
      handles_.push_back(e->handle);
    }
  }
  bool empty() const { return handles_.empty(); }
  cl_uint size() const { return static_cast<cl_uint>(handles_.size()); }
  const cl_event* data() const { return handles_.empty() ? nullptr : handles_.data(); }
  const std::vector<Event>& events() const { return keep_; }
  void wait() const {
    for (const Event& e : keep_) {
      e->wait();
    }
  }

 private:
  std::vector<Event> keep_;
  std::vector<cl_event> handles_;
};

}  // namespace coexec
