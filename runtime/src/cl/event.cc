#include "event.h"

#include <algorithm>

#include "cl_error.h"
#include "device.h"

namespace coexec {

void Failure::report() {
  if (!reported_here()) {
    std::lock_guard<std::mutex> lock(mu_);
    reporters_.push_back(std::this_thread::get_id());
  }
}

bool Failure::reported() const {
  std::lock_guard<std::mutex> lock(mu_);
  return !reporters_.empty();
}

bool Failure::reported_here() const {
  std::lock_guard<std::mutex> lock(mu_);
  return std::find(reporters_.begin(), reporters_.end(), std::this_thread::get_id()) != reporters_.end();
}

EventRecord::~EventRecord() {
  queue->device->driver().ReleaseEvent(handle);
}

cl_int EventRecord::status() const {
  cl_int status = CL_QUEUED;
  const cl_int code =
      queue->device->driver().GetEventInfo(handle, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, nullptr);
  return code == CL_SUCCESS ? status : code;
}

void EventRecord::wait() const {
  const cl_int code = queue->device->driver().WaitForEvents(1, &handle);
  if (has_ended()) {
    if (const std::shared_ptr<Failure> f = failure()) {
      f->report();
      raise(f->code, *f->label + " on " + queue->device->text() +
                         (f->label == label ? "" : ", whose result " + *label + " uses,"));
    }
  }
  check(code, [&] { return "waiting for " + *label + " on " + queue->device->text(); });
}

std::shared_ptr<Failure> EventRecord::failure() const {
  std::vector<Event> done;  // released outside the lock
  std::lock_guard<std::mutex> lock(mu_);
  if (!settled_) {
    const cl_int end = status();
    if (end > CL_COMPLETE) {
      return nullptr;
    }
    for (const Event& e : needs_) {
      failure_ = failure_ ? failure_ : e->failure();
    }
    if (!failure_ && end < 0) {
      failure_ = std::make_shared<Failure>(end, label);
    }
    done.swap(needs_);
    settled_ = true;
  }
  return failure_;
}

std::shared_ptr<Failure> EventRecord::failure_so_far() const {
  std::lock_guard<std::mutex> lock(mu_);
  for (const Event& e : needs_) {
    if (std::shared_ptr<Failure> f = e->failure()) {
      return f;
    }
  }
  return failure_;
}

void WaitList::add(const Event& e, const Queue* except, FailureFilter filter) {
  if (!e) {
    return;
  }
  const bool same = e->queue == except;
  if (filter == FailureFilter::kNone) {
    if (same || e->has_ended()) {
      return;
    }
  } else if (e->is_settled() || (!same && e->has_ended())) {
    const std::shared_ptr<Failure> f = e->failure();
    if (f && (filter == FailureFilter::kAll ||
              !(filter == FailureFilter::kUnreported ? f->reported() : f->reported_here()))) {
      e->wait();  // throws
    }
    return;
  } else {
    needs_.push_back(e);
  }
  if (!same) {
    keep_.push_back(e);
    handles_.push_back(e->handle);
  }
}

}  // namespace coexec
