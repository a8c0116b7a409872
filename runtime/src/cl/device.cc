#include "device.h"

#include <algorithm>
#include <memory>

#include "affinity.h"
#include "cl_error.h"
#include "faults.h"

namespace coexec {
namespace {

// Commands of a queue after which they are checked: checking after each one would slow down launches.
constexpr size_t kCheckBatch = 16;

// By the device's slot: the stream set by SetStream in this thread (null: the device's own queue).
thread_local std::vector<Queue*> t_current;

}  // namespace

Event Queue::last() const {
  std::lock_guard<std::mutex> lock(mu_);
  return last_;
}

void Queue::add(const Event& e) {
  std::lock_guard<std::mutex> lock(mu_);
  last_ = e;
  in_flight_.push_back(e);
  // Checking an ended command releases the events that it depends on; otherwise chains of events would grow.
  if (in_flight_.size() >= kCheckBatch) {
    settle_locked();
  }
}

void Queue::settle_locked() {
  const auto reported = [](const Event& f) { return f->failure()->reported(); };
  while (!in_flight_.empty()) {  // the queue is in order: if a command has not ended, no later one has
    const Event& e = in_flight_.front();
    const std::shared_ptr<Failure> f = e->failure();
    if (!e->is_settled()) {
      return;
    }
    if (f && !f->reported()) {
      failed_.erase(std::remove_if(failed_.begin(), failed_.end(), reported), failed_.end());
      failed_.push_back(e);
    }
    in_flight_.pop_front();
  }
}

void Queue::settle() {
  Event first;
  {
    std::lock_guard<std::mutex> lock(mu_);
    settle_locked();
    for (const Event& e : failed_) {
      first = first || e->failure()->reported() ? first : e;
    }
    failed_.clear();
  }
  if (first) {
    first->wait();  // throws
  }
}

void Queue::reset() {
  std::lock_guard<std::mutex> lock(mu_);
  last_.reset();
  in_flight_.clear();
  failed_.clear();
}

Device::Device(int id_, DeviceInfo info_, const Options& o)
    : id(id_), info(std::move(info_)), slot(id + (info.api == Api::kVulkan ? kMaxDevices : 0)), options(o) {
  cl_int code = CL_SUCCESS;
  context_ = driver().CreateContext(nullptr, 1, &info.handle, nullptr, nullptr, &code);
  check(code,
        [&] { return "creating a context for the " + std::string(api_title(info.api)) + " device " + info.name; });
  profiling_ = options.profile;
  compute_.device = transfer_.device = this;
  compute_.handle = create_queue();
  transfer_.handle = create_queue();
  try {
    memory_ = choose_memory(info, options.memory, driver().has_svm());
  } catch (const Error& e) {
    memory_error_ = e.what();  // the device can be queried; only its memory is unusable
  }
}

MemoryMode Device::memory() const {
  if (memory_ == MemoryMode::kAuto) {
    throw Error(memory_error_);
  }
  return memory_;
}

std::string Device::memory_name() const {
  return memory_ == MemoryMode::kAuto ? "unsupported" : memory_mode_name(memory_);
}

std::string Device::text() const {
  return std::string(api_name(info.api)) + "(" + std::to_string(id) + ") (" + info.name + ")";
}

cl_command_queue Device::create_queue() {
  cl_int code = CL_SUCCESS;
  const cl_bitfield flags = profiling_ ? cl_bitfield{CL_QUEUE_PROFILING_ENABLE} : 0;
  cl_command_queue queue = nullptr;
  if (driver().CreateCommandQueueWithProperties) {
    const cl_ulong properties[] = {CL_QUEUE_PROPERTIES, flags, 0};
    queue = driver().CreateCommandQueueWithProperties(context_, info.handle, properties, &code);
  }
  if (!queue) {  // an OpenCL 1.x device under a 2.x loader rejects the newer call
    queue = driver().CreateCommandQueue(context_, info.handle, flags, &code);
  }
  check(code, [&] { return "creating a command queue on " + text(); });
  return queue;
}

Queue* Device::create_stream() {
  cl_command_queue handle = nullptr;
  run_unconfined([&] { handle = create_queue(); });
  std::lock_guard<std::mutex> lock(mu_);
  Queue* stream = nullptr;
  if (free_streams_.empty()) {
    stream = new Queue();
    stream->device = this;
  } else {
    stream = free_streams_.back();
    free_streams_.pop_back();
  }
  stream->handle = handle;
  streams_.push_back(stream);
  return stream;
}

void Device::free_stream(Queue* stream) {
  if (!stream) {
    return;
  }
  check_stream(stream);
  try {
    finish(*stream);
  } catch (const Error&) {  // the caller that reads the results gets the error
  }
  if (t_current.size() > static_cast<size_t>(slot) && t_current[slot] == stream) {
    t_current[slot] = nullptr;
  }
  std::unique_lock<std::shared_mutex> exclusive(streams_live_);
  driver().ReleaseCommandQueue(stream->handle);
  stream->reset();
  std::lock_guard<std::mutex> lock(mu_);
  stream->handle = nullptr;
  streams_.erase(std::find(streams_.begin(), streams_.end(), stream));
  // Regions keep events that refer to this queue by address. All of them have ended, so another stream may reuse it.
  free_streams_.push_back(stream);
}

void Device::check_stream(const Queue* stream) {
  std::lock_guard<std::mutex> lock(mu_);
  if (std::find(streams_.begin(), streams_.end(), stream) == streams_.end()) {
    throw Error("the stream handle is not a stream of " + text() + ": it was created on another device, or freed");
  }
}

Queue& Device::stream(void* handle) {
  if (!handle) {
    return current();
  }
  Queue* q = static_cast<Queue*>(handle);
  check_stream(q);
  return *q;
}

Queue& Device::current() {
  Queue* q = t_current.size() > static_cast<size_t>(slot) ? t_current[slot] : nullptr;
  return q && q->handle ? *q : compute_;
}

void Device::set_current(void* handle) {
  Queue* q = static_cast<Queue*>(handle);
  if (q) {
    check_stream(q);
  }
  if (t_current.size() <= static_cast<size_t>(slot)) {
    t_current.resize(slot + 1, nullptr);
  }
  t_current[slot] = q;
}

void* Device::current_handle() {
  Queue& q = current();
  return &q == &compute_ ? nullptr : &q;
}

void Device::finish(Queue& queue) {
  check(driver().Finish(queue.handle), [&] { return "waiting for the command queue of " + text(); });
  queue.settle();  // clFinish does not report failures of commands
}

void Device::sync(void* handle) {
  if (handle) {
    finish(stream(handle));
    finish(transfer_);
    return;
  }
  std::shared_lock<std::shared_mutex> no_release(streams_live_);  // no thread frees a stream while this one waits
  std::vector<Queue*> all{&compute_, &transfer_};
  {
    std::lock_guard<std::mutex> lock(mu_);
    all.insert(all.end(), streams_.begin(), streams_.end());
  }
  for (Queue* q : all) {
    finish(*q);
  }
}

void Device::drain_transfers() noexcept {
  const Event last = transfer_.last();
  if (last && !last->has_ended()) {
    driver().Finish(transfer_.handle);
  }
}

void Device::sync_from_to(void* from, void* to) {
  Queue& a = from ? stream(from) : compute_;
  Queue& b = to ? stream(to) : compute_;
  if (&a == &b) {
    return;
  }
  cl_event raw = nullptr;
  check(driver().EnqueueMarkerWithWaitList(a.handle, 0, nullptr, &raw),
        [&] { return "enqueueing a marker on a stream of " + text() + " (clEnqueueMarkerWithWaitList)"; });
  static const auto label = std::make_shared<const std::string>("the marker of a stream");
  const Event marker = track(a, raw, label);
  check(driver().EnqueueBarrierWithWaitList(b.handle, 1, &marker->handle, nullptr),
        [&] { return "enqueueing a barrier on a stream of " + text() + " (clEnqueueBarrierWithWaitList)"; });
}

bool Device::busy() const {
  const auto running = [](const Queue& q) {
    const Event e = q.last();
    return e && !e->has_ended();
  };
  if (running(compute_)) {
    return true;
  }
  std::lock_guard<std::mutex> lock(mu_);
  return std::any_of(streams_.begin(), streams_.end(), [&](const Queue* q) { return running(*q); });
}

void Device::set_profiling(bool on) {
  if (on == profiling_) {
    return;
  }
  sync(nullptr);
  profiling_ = on;
  for (Queue* q : {&compute_, &transfer_}) {
    cl_command_queue fresh = nullptr;
    run_unconfined([&] { fresh = create_queue(); });
    driver().ReleaseCommandQueue(q->handle);
    q->handle = fresh;
  }
}

Event Device::track(Queue& queue, cl_event event, std::shared_ptr<const std::string> label, std::vector<Event> needs) {
  Event e = std::make_shared<const EventRecord>(event, &queue, std::move(label), std::move(needs));
  queue.add(e);
  if (const cl_int code = driver().Flush(queue.handle)) {
    // The caller gets no event, so it could not wait for the command before freeing its memory.
    driver().WaitForEvents(1, &e->handle);
    raise(code, "flushing the command queue of " + text() + " after enqueueing " + *e->label);
  }
  return e;
}

namespace {

struct Global {
  std::once_flag once;
  std::atomic<Workspace*> workspace{nullptr};
  std::string error;
};

Global& global(Api api) {
  static Global* const g = new Global[2];
  return g[static_cast<int>(api)];
}

}  // namespace

Workspace::Workspace(Api api) : api_(api), options_(Options::from_environment(api)) {
  std::string first_error;
  for (DeviceInfo& info : select_devices(list_devices(api), options_.devices)) {
    if (devices_.size() == kMaxDevices) {
      break;
    }
    try {
      const int id = static_cast<int>(devices_.size());
      devices_.push_back(new Device(id, info, options_));
    } catch (const Error& e) {  // a broken device must not disable the others
      first_error = first_error.empty() ? e.what() : first_error;
    }
  }
  if (devices_.empty()) {
    throw Error(std::string(api_title(api)) + " is not available: " + first_error);
  }
  if (!options_.faults.empty()) {
    try {
      faults::inject_text(options_.faults);
    } catch (const Error& e) {
      throw Error(std::string(api == Api::kOpenCL ? "TVM_COEXEC_OPENCL_FAULTS" : "TVM_COEXEC_VULKAN_FAULTS") + " is '" +
                  options_.faults + "': " + e.what());
    }
  }
}

Workspace& Workspace::get(Api api) {
  Global& g = global(api);
  std::call_once(g.once, [&] {
    try {
      run_unconfined([&] { g.workspace = new Workspace(api); });
    } catch (const std::exception& e) {
      g.error = e.what();
    }
  });
  if (!g.workspace) {
    throw Error(g.error);
  }
  return *g.workspace.load();
}

std::string Workspace::why_unavailable(Api api) {
  try {
    get(api);
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

bool Workspace::in_use(Api api) {
  return global(api).workspace.load() != nullptr;
}

bool Workspace::exists(Api api, int id) {
  try {
    return id >= 0 && static_cast<size_t>(id) < get(api).size();
  } catch (const Error&) {
    return false;
  }
}

Device& Workspace::device(int id) {
  if (id < 0 || static_cast<size_t>(id) >= devices_.size()) {
    const std::string name = api_name(api_), title = api_title(api_);
    throw Error("there is no " + name + "(" + std::to_string(id) + "): this machine has " +
                std::to_string(devices_.size()) + " " + title + " device(s), numbered from " + name +
                "(0); TVM_COEXEC_" + (api_ == Api::kOpenCL ? "OPENCL" : "VULKAN") + "_DEVICES selects and orders them");
  }
  return *devices_[id];
}

Device& device_in_slot(int slot) {
  return Workspace::get(slot < kMaxDevices ? Api::kOpenCL : Api::kVulkan).device(slot % kMaxDevices);
}

}  // namespace coexec
