#include "event.h"

#include "cl_error.h"

namespace coexec {

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
  const cl_int end = status();
  if (end < 0) {
    raise(end, *label + " on the OpenCL device");
  }
  check(code, [&] { return "waiting for " + *label; });
}

}  // namespace coexec
