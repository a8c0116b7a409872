#include "copy.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "../cl/cl_error.h"
#include "blocking_copy.h"
#include "region.h"
#include "signal.h"
#include "staging.h"
#include "stats.h"
#include "trace.h"

namespace coexec {
namespace {

using Label = std::shared_ptr<const std::string>;
const Label kUpload = std::make_shared<const std::string>("an upload");
const Label kDownload = std::make_shared<const std::string>("a download");
const Label kDeviceCopy = std::make_shared<const std::string>("a copy within the device");

bool is_svm(MemoryMode mode) {
  return mode == MemoryMode::kFineSvm || mode == MemoryMode::kCoarseSvm;
}

RegionPtr resolve(const Endpoint& place, size_t bytes, const char* role) {
  RegionPtr region = find_region(place.address);
  if (!region || region->device.slot != place.slot) {
    throw Error("the " + std::string(role) + " of a copy is not memory of " + device_in_slot(place.slot).text() +
                ": the array was freed, or another runtime allocated it");
  }
  const size_t offset = region->offset(place.address);
  if (offset + bytes > region->bytes) {
    throw Error("the " + std::string(role) + " of a copy of " + std::to_string(bytes) +
                " bytes extends past the end of its buffer of " + std::to_string(region->bytes) +
                " bytes (byte offset " + std::to_string(offset) + ")");
  }
  return region;
}

std::string describe_copy(const char* kind, size_t bytes, const Device& d) {
  return std::string(kind) + " of " + std::to_string(bytes) + " bytes, " + d.text() + ",";
}

void upload_now(Region& r, size_t offset, const void* from, size_t bytes) {
  Device& d = r.device;
  if (r.mode == MemoryMode::kFineSvm) {
    std::memcpy(r.base + offset, from, bytes);
    r.record_host_write(offset, bytes);
  } else if (r.mode == MemoryMode::kBuffer) {
    check(
        d.driver().EnqueueWriteBuffer(d.transfer().handle, r.mem, kBlocking, offset, bytes, from, 0, nullptr, nullptr),
        [&] { return describe_copy("an upload", bytes, d) + " (clEnqueueWriteBuffer)"; });
    r.record_host_write(offset, bytes);
  } else {
    Event ready;
    char* address = r.map(CL_MAP_WRITE_INVALIDATE_REGION, offset, bytes, WaitList(), &ready);
    try {
      ready->wait();
    } catch (const Error&) {
      r.unmap_quietly(address);
      throw;
    }
    std::memcpy(address, from, bytes);
    r.record(Access::kOverwrite, r.unmap_at(d.transfer(), address), offset, bytes);
  }
}

// The host's bytes must stay as they are until the command has ended, unless the driver copies them at once.
Event enqueue_upload(Region& r, size_t offset, const char* from, size_t bytes, const WaitList& after) {
  Device& d = r.device;
  cl_event raw = nullptr;
  cl_int code = CL_SUCCESS;
  if (is_svm(r.mode)) {
    code = d.driver().EnqueueSVMMemcpy(d.transfer().handle, kAsync, r.base + offset, from, bytes, after.size(),
                                       after.data(), &raw);
  } else {
    code = d.driver().EnqueueWriteBuffer(d.transfer().handle, r.mem, kAsync, offset, bytes, from, after.size(),
                                         after.data(), &raw);
  }
  check(code, [&] { return describe_copy("an upload", bytes, d); });
  const Event e = d.track(d.transfer(), raw, kUpload);
  r.record(Access::kOverwrite, e, offset, bytes);
  return e;
}

// The command that copies the bytes; null if they are copied already.
Event start_upload(Region& r, size_t offset, const void* from, size_t bytes) {
  Stats& stats = Stats::get();
  stats.uploads++;
  stats.upload_bytes += bytes;
  Timed timed(SpanKind::kUpload, r.device.slot, bytes);
  std::lock_guard<std::mutex> lock(r.mu);
  if (r.is_host_mapped(offset, bytes, true)) {  // the host has this range mapped
    std::memcpy(r.base + offset, from, bytes);
    return nullptr;
  }
  r.unmap(r.device.transfer(), Access::kWrite);
  WaitList after;
  r.order(Access::kOverwrite, nullptr, &after, offset, bytes);
  // In fine-grained memory the host can write as soon as no command uses the region. In the other modes the copy is a
  // command, which the driver may execute only after the running kernels, so the caller's bytes are staged.
  if (r.mode == MemoryMode::kBuffer && r.device.driver().copies_at_enqueue) {
    const Event enqueued = enqueue_upload(r, offset, static_cast<const char*>(from), bytes, after);
    timed.set_command(enqueued);
    return enqueued;
  }
  const bool immediate = after.empty() && (r.mode == MemoryMode::kFineSvm || !r.device.busy());
  if (!immediate) {
    Staging::Block block = Staging::of(r.device).take(bytes);
    if (block.data) {
      std::memcpy(block.data.get(), from, bytes);
      stats.uploads_staged++;
      const Event staged = enqueue_upload(r, offset, block.data.get(), bytes, after);
      Staging::of(r.device).hold(std::move(block), staged);
      timed.set_command(staged);
      return staged;
    }
    timed.record_wait([&] { after.wait(); });
  }
  upload_now(r, offset, from, bytes);
  return nullptr;
}

void upload(Region& r, size_t offset, const void* from, size_t bytes) {
  Trace::finish_if_one_at_a_time(start_upload(r, offset, from, bytes), r.device.slot);
}

// Enqueues a download to plain host memory; Error if the driver rejects it.
Event read_async(Region& r, size_t offset, void* to, size_t bytes) {
  Device& d = r.device;
  WaitList after;
  r.order(Access::kRead, &d.transfer(), &after, offset, bytes);
  cl_event raw = nullptr;
  const cl_int code = is_svm(r.mode) ? d.driver().EnqueueSVMMemcpy(d.transfer().handle, kAsync, to, r.base + offset,
                                                                   bytes, after.size(), after.data(), &raw)
                                     : d.driver().EnqueueReadBuffer(d.transfer().handle, r.mem, kAsync, offset, bytes,
                                                                    to, after.size(), after.data(), &raw);
  if (code != CL_SUCCESS) {
    after.wait();  // throws an error that names the failed command, if any
    raise(code, describe_copy("a download", bytes, d));
  }
  const Event e = d.track(d.transfer(), raw, kDownload, after.needs());
  r.record(Access::kRead, e);
  return e;
}

// Removes and returns the event of an early download of this source to this destination; null if there is none.
Event take_fetch(Region& r, size_t offset, const void* to, size_t bytes) {
  for (auto f = r.fetches.begin(); f != r.fetches.end(); ++f) {
    if (f->to == to && f->offset == offset && f->bytes == bytes) {
      Event done = f->done;
      r.fetches.erase(f);
      return done;
    }
  }
  return nullptr;
}

void download(Region& r, size_t offset, void* to, size_t bytes) {
  Stats& stats = Stats::get();
  stats.downloads++;
  stats.download_bytes += bytes;
  Device& d = r.device;
  Timed timed(SpanKind::kDownload, d.slot, bytes);
  Event ready, early;
  WaitList writers;
  char* mapped = nullptr;
  {
    std::lock_guard<std::mutex> lock(r.mu);
    early = take_fetch(r, offset, to, bytes);
    if (!early && r.is_host_mapped(offset, bytes, false)) {
      std::memcpy(to, r.base + offset, bytes);
      return;
    }
    if (early) {
      ready = early;
    } else if (r.mode == MemoryMode::kBuffer) {
      ready = read_async(r, offset, to, bytes);
    } else if (r.mode != MemoryMode::kFineSvm) {
      WaitList after;
      r.order(Access::kRead, &d.transfer(), &after, offset, bytes);
      mapped = r.map(CL_MAP_READ, offset, bytes, after, &ready);
      r.record(Access::kRead, ready);
    }
    if (!ready || timed) {
      r.order(Access::kRead, nullptr, &writers, offset, bytes);
    }
  }
  try {
    if (!ready || timed) {  // a trace records the wait for the kernel and the copy after it separately
      timed.record_wait([&] { writers.wait(); });
    }
    if (ready) {
      ready->wait();
      timed.set_command(ready);
    }
  } catch (const Error&) {
    if (mapped) {
      r.unmap_quietly(mapped);
    }
    throw;
  }
  if (r.mode == MemoryMode::kFineSvm && !early) {
    std::memcpy(to, r.base + offset, bytes);
  } else if (mapped) {
    std::memcpy(to, mapped, bytes);
    std::lock_guard<std::mutex> lock(r.mu);
    r.record(Access::kRead, r.unmap_at(d.transfer(), mapped));
  }
}

// Returns when the copy is enqueued.
Event start_copy_within(Region& a, size_t a_offset, Region& b, size_t b_offset, size_t bytes, Queue& queue) {
  Timed timed(SpanKind::kDeviceCopy, a.device.slot, bytes);
  std::unique_lock<std::mutex> first((a.base <= b.base ? a : b).mu), second;
  if (&a != &b) {
    second = std::unique_lock<std::mutex>((a.base <= b.base ? b : a).mu);
  }
  a.unmap(queue, Access::kRead);
  b.unmap(queue, Access::kWrite);
  WaitList after;
  a.order(Access::kRead, &queue, &after, a_offset, bytes);
  b.order(Access::kWrite, &queue, &after, b_offset, bytes);
  cl_event raw = nullptr;
  cl_int code = CL_SUCCESS;
  if (is_svm(a.mode)) {
    code = a.device.driver().EnqueueSVMMemcpy(queue.handle, kAsync, b.base + b_offset, a.base + a_offset, bytes,
                                              after.size(), after.data(), &raw);
  } else {
    code = a.device.driver().EnqueueCopyBuffer(queue.handle, a.mem, b.mem, a_offset, b_offset, bytes, after.size(),
                                               after.data(), &raw);
  }
  check(code, [&] { return describe_copy("a copy within the device", bytes, a.device); });
  const Event e = a.device.track(queue, raw, kDeviceCopy, after.needs());
  a.record(Access::kRead, e);
  b.record(Access::kWrite, e, b_offset, bytes);
  timed.set_command(e);
  return e;
}

void copy_within(Region& a, size_t a_offset, Region& b, size_t b_offset, size_t bytes, Queue& queue) {
  Stats& stats = Stats::get();
  stats.device_copies++;
  stats.device_copy_bytes += bytes;
  Trace::finish_if_one_at_a_time(start_copy_within(a, a_offset, b, b_offset, bytes, queue), a.device.slot);
}

// Instead of a copy between arrays that share memory: makes the writes of one side visible to the other.
void sync_shared(const Endpoint& from, const Endpoint& to, size_t bytes) {
  Stats::get().copies_elided++;
  Timed timed(SpanKind::kElidedCopy, std::max(from.slot, to.slot), bytes);
  if ((from.slot < 0) == (to.slot < 0)) {
    return;
  }
  const bool to_host = to.slot < 0;
  RegionPtr r = resolve(to_host ? from : to, bytes, "source");
  const size_t offset = r->offset(from.address);
  WaitList writers;
  {
    std::lock_guard<std::mutex> lock(r->mu);
    if (r->mode == MemoryMode::kFineSvm) {
      if (to_host) {
        r->order(Access::kRead, nullptr, &writers, offset, bytes);
      }
    } else if (to_host && !r->is_host_mapped(offset, bytes, false)) {
      timed.record_wait([&] { r->map_for_host(offset, bytes, !r->planned); });
    } else if (!to_host && r->planned && r->is_host_mapped(offset, bytes, true)) {
      r->unmap(r->device.transfer(), Access::kWrite);
      timed.record_wait([&] { r->map_for_host(offset, bytes, false); });  // the host may still read
    }  // otherwise the next kernel's launch unmaps the memory
  }
  for (const Event& e : writers.events()) {
    timed.record_wait([&] { Signals::of(r->device).wait(e); });
  }
}

}  // namespace

void start_download(Region& r, size_t offset, void* to, size_t bytes) {
  if (bytes == 0) {
    return;
  }
  Event done;
  {
    std::lock_guard<std::mutex> lock(r.mu);
    if (r.is_host_mapped(offset, bytes, false)) {
      return;  // a copy by the host is as fast
    }
    take_fetch(r, offset, to, bytes);  // left over from a run that ended with an error
    done = read_async(r, offset, to, bytes);
    r.fetches.push_back({to, offset, bytes, done});
  }
  Trace::finish_if_one_at_a_time(done, r.device.slot);
}

void map_for_host_write(Region& r, size_t offset, size_t bytes) {
  if (bytes == 0) {  // OpenCL can't map zero bytes
    return;
  }
  std::lock_guard<std::mutex> lock(r.mu);
  if (r.mode != MemoryMode::kFineSvm && !r.is_host_mapped(offset, bytes, true)) {
    r.map_for_host(offset, bytes, true);
  }
}

namespace {

void copy_now(const Endpoint& from, const Endpoint& to, size_t bytes, void* stream) {
  if (from.address == to.address) {
    sync_shared(from, to, bytes);
    return;
  }
  if (from.slot < 0 && to.slot < 0) {
    std::memcpy(to.address, from.address, bytes);
    return;
  }
  if (from.slot < 0) {
    RegionPtr r = resolve(to, bytes, "destination");
    if (r->device.options.blocking_copies) {
      upload_blocking(*r, r->offset(to.address), from.address, bytes, r->device.stream(stream));
      return;
    }
    upload(*r, r->offset(to.address), from.address, bytes);
    return;
  }
  RegionPtr a = resolve(from, bytes, "source");
  if (to.slot < 0) {
    if (a->device.options.blocking_copies) {
      download_blocking(*a, a->offset(from.address), to.address, bytes, a->device.stream(stream));
      return;
    }
    download(*a, a->offset(from.address), to.address, bytes);
    return;
  }
  RegionPtr b = resolve(to, bytes, "destination");
  if (&a->device == &b->device) {
    copy_within(*a, a->offset(from.address), *b, b->offset(to.address), bytes, a->device.stream(stream));
    return;
  }
  // Different contexts share no memory; copy through the host.
  std::vector<char> through(bytes);
  download(*a, a->offset(from.address), through.data(), bytes);
  upload(*b, b->offset(to.address), through.data(), bytes);
}

}  // namespace

void copy(const Endpoint& from, const Endpoint& to, size_t bytes, void* stream) {
  if (bytes == 0) {
    return;
  }
  try {
    copy_now(from, to, bytes, stream);
  } catch (const Error&) {
    for (const Endpoint* end : {&from, &to}) {
      if (const RegionPtr r = end->slot < 0 ? nullptr : find_region(end->address)) {
        std::lock_guard<std::mutex> lock(r->mu);
        r->end_run();
      }
    }
    throw;
  }
}

}  // namespace coexec
