#include "event.h"

#include <algorithm>

#include "cl_error.h"
#include "device.h"

namespace coexec {

void Failure::tell() {
  if (!told_here()) {
    std::lock_guard<std::mutex> lock(mu_);
    told_.push_back(std::this_thread::get_id());
  }
}

bool Failure::told() const {
  std::lock_guard<std::mutex> lock(mu_);
  return !told_.empty();
}

bool Failure::told_here() const {
  std::lock_guard<std::mutex> lock(mu_);
  return std::find(told_.begin(), told_.end(), std::this_thread::get_id()) != told_.end();
}

EventRecord::~EventRecord() {
  cl().ReleaseEvent(handle);
}

cl_int EventRecord::status() const {
  cl_int status = CL_QUEUED;
  const cl_int code = cl().GetEventInfo(handle, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, nullptr);
  return code == CL_SUCCESS ? status : code;
}

void EventRecord::wait() const {
  const cl_int code = cl().WaitForEvents(1, &handle);
  if (ended()) {
    if (const std::shared_ptr<Failure> f = failure()) {
      f->tell();
      raise(f->code, *f->label + " on " + queue->device->text() +
                         (f->label == label ? "" : ", whose result is needed by " + *label + ","));
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

void WaitList::add(const Event& e, const Queue* except, Heed heed) {
  if (!e) {
    return;
  }
  const bool same = e->queue == except;
  if (heed == Heed::kNone) {
    if (same || e->ended()) {
      return;
    }
  } else if (e->settled() || (!same && e->ended())) {
    const std::shared_ptr<Failure> f = e->failure();
    if (f && (heed == Heed::kAll || !(heed == Heed::kUntold ? f->told() : f->told_here()))) {
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
