#include "blocking_copy.h"

#include "../cl/cl_error.h"
#include "stats.h"
#include "trace.h"

namespace coexec {
namespace {

using Label = std::shared_ptr<const std::string>;

// Enqueues a copy with `command(wait list, event)`, and waits for the queue.
template <class Command>
void run(Region& r, Access access, size_t offset, size_t bytes, Queue& queue, Timed& timed, const Label& label,
         Command command) {
  Event copied;
  {
    std::lock_guard<std::mutex> lock(r.mu);
    WaitList after;
    r.order(access, &queue, &after, offset, bytes);
    cl_event raw = nullptr;
    check(command(after, &raw), [&] { return *label + " of " + std::to_string(bytes) + " bytes, " + r.device.text(); });
    copied = r.device.track(queue, raw, label, access == Access::kRead ? after.needs() : std::vector<Event>());
    r.record(access, copied, offset, bytes);
  }
  timed.record_wait([&] { r.device.finish(queue); });
  copied->wait();  // throws if it failed, also if that was reported before
  timed.set_command(copied);
}

}  // namespace

void upload_blocking(Region& r, size_t offset, const void* from, size_t bytes, Queue& queue) {
  static const Label label = std::make_shared<const std::string>("an upload");
  Stats::get().uploads++;
  Stats::get().upload_bytes += bytes;
  Timed timed(SpanKind::kUpload, r.device.slot, bytes);
  run(r, Access::kOverwrite, offset, bytes, queue, timed, label, [&](const WaitList& after, cl_event* event) {
    return r.device.driver().EnqueueWriteBuffer(queue.handle, r.mem, kAsync, offset, bytes, from, after.size(),
                                                after.data(), event);
  });
}

void download_blocking(Region& r, size_t offset, void* to, size_t bytes, Queue& queue) {
  static const Label label = std::make_shared<const std::string>("a download");
  Stats::get().downloads++;
  Stats::get().download_bytes += bytes;
  Timed timed(SpanKind::kDownload, r.device.slot, bytes);
  run(r, Access::kRead, offset, bytes, queue, timed, label, [&](const WaitList& after, cl_event* event) {
    return r.device.driver().EnqueueReadBuffer(queue.handle, r.mem, kAsync, offset, bytes, to, after.size(),
                                               after.data(), event);
  });
}

}  // namespace coexec
