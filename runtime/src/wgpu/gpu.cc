#include "gpu.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "../cl/cl_error.h"

namespace coexec {
namespace wg {
namespace {

constexpr size_t kKeepReadBackBytes = 64u << 20;  // of free mappable buffers
constexpr size_t kSmallestReadBack = 256;

thread_local Attempt* t_attempt = nullptr;

// wgpu-native's messages have several lines, with causes indented.
std::string on_one_line(const std::string& text) {
  std::string joined;
  for (const char c : text) {
    const bool space = c == '\n' || c == '\t' || c == ' ';
    if (!space || (!joined.empty() && joined.back() != ' ')) {
      joined += space ? ' ' : c;
    }
  }
  joined.erase(joined.find_last_not_of(' ') + 1);
  return joined;
}

Instance wgpu_instance() {
  static const Instance instance = [] {
    InstanceExtras extras{};
    extras.chain.type = kTypeInstanceExtras;
    extras.backends = kBackendVulkan;
    extras.flags = kInstanceDefault;
    InstanceDescriptor descriptor{};
    descriptor.next = &extras.chain;
    return wgpu().CreateInstance(&descriptor);
  }();
  return instance;
}

}  // namespace

Attempt::Attempt() : before_(t_attempt) {
  t_attempt = this;
  set_error_detail(0, "");
}

Attempt::~Attempt() {
  t_attempt = before_;
}

cl_int Attempt::code(cl_int otherwise) const {
  if (!failed()) {
    return CL_SUCCESS;
  }
  const cl_int code = kind_ == kErrorOutOfMemory ? static_cast<cl_int>(kOutOfMemory) : otherwise;
  set_error_detail(code, on_one_line(text_));
  return code;
}

void Attempt::report(uint32_t kind, std::string text) {
  if (t_attempt && t_attempt->kind_ == 0) {
    t_attempt->kind_ = kind;
    t_attempt->text_ = std::move(text);
  }
}

std::vector<AdapterRecord> list_adapters() {
  const Instance instance = wgpu_instance();
  if (!instance) {
    return {};
  }
  EnumerateOptions options{nullptr, kBackendVulkan};
  std::vector<Adapter> handles(wgpu().InstanceEnumerateAdapters(instance, &options, nullptr));
  handles.resize(wgpu().InstanceEnumerateAdapters(instance, &options, handles.data()));
  std::vector<AdapterRecord> found;
  for (const Adapter handle : handles) {
    AdapterRecord a;
    a.handle = handle;
    AdapterInfo info{};
    if (wgpu().AdapterGetInfo(handle, &info) != kSuccess) {
      continue;
    }
    a.name = text_of(info.device);
    a.vendor = text_of(info.vendor);
    a.driver = text_of(info.description);
    a.kind = info.kind;
    a.subgroup = info.subgroup_min;
    wgpu().AdapterInfoFreeMembers(info);
    if (wgpu().AdapterGetLimits(handle, &a.limits) != kSuccess) {
      continue;
    }
    a.fp16 = wgpu().AdapterHasFeature(handle, kFeatureShaderF16) != 0;
    a.timestamps = wgpu().AdapterHasFeature(handle, kFeatureTimestampQuery) != 0;
    found.push_back(std::move(a));
  }
  return found;
}

GpuPtr Gpu::open(const AdapterRecord& adapter, std::string* why) {
  GpuPtr gpu(new Gpu());
  gpu->limits_ = adapter.limits;
  gpu->limits_.next = nullptr;
  gpu->timestamps_ = adapter.timestamps;
  std::vector<uint32_t> features;
  if (adapter.fp16) {
    features.push_back(kFeatureShaderF16);
  }
  if (adapter.timestamps) {
    features.push_back(kFeatureTimestampQuery);
  }
  DeviceDescriptor descriptor{};
  descriptor.n_features = features.size();
  descriptor.features = features.data();
  descriptor.limits = &gpu->limits_;
  descriptor.lost = {nullptr, kAllowSpontaneous, on_lost, gpu.get(), nullptr};
  descriptor.errors = {nullptr, on_error, nullptr, nullptr};
  struct Answer {
    Device device = nullptr;
    std::string message;
  } answer;
  const auto on_device = [](uint32_t status, Device device, StringView message, void* a, void*) {
    auto* to = static_cast<Answer*>(a);
    to->device = status == kSuccess ? device : nullptr;
    to->message = text_of(message);
  };
  wgpu().AdapterRequestDevice(adapter.handle, &descriptor, {nullptr, kAllowSpontaneous, on_device, &answer, nullptr});
  if (!answer.device) {
    *why = answer.message.empty() ? "the driver gives no reason" : answer.message;
    return nullptr;
  }
  gpu->device_ = answer.device;
  gpu->queue_ = wgpu().DeviceGetQueue(answer.device);
  gpu->tick_ns_ = gpu->timestamps_ ? wgpu().QueueGetTimestampPeriod(gpu->queue_) : 1;
  return gpu;
}

Gpu::~Gpu() {
  for (const auto& entry : free_) {
    wgpu().BufferRelease(entry.second);
  }
  if (queue_) {
    wgpu().QueueRelease(queue_);
  }
  if (device_) {
    wgpu().DeviceRelease(device_);
  }
}

void Gpu::on_error(const Device*, uint32_t kind, StringView message, void*, void*) {
  Attempt::report(kind, text_of(message));
}

void Gpu::on_lost(const Device*, uint32_t, StringView message, void* self, void*) {
  static_cast<Gpu*>(self)->note_lost(text_of(message));
}

void Gpu::on_done(uint32_t, StringView, void* self, void* index) {
  std::atomic<uint64_t>& ended = static_cast<Gpu*>(self)->ended_;
  const uint64_t now = reinterpret_cast<uintptr_t>(index);
  uint64_t before = ended;
  while (before < now && !ended.compare_exchange_weak(before, now)) {
  }
}

// May be called from any of wgpu-native's functions, so it takes no lock of ours that is held during those.
void Gpu::note_lost(const std::string& why) {
  static std::mutex& mu = *new std::mutex();
  std::lock_guard<std::mutex> lock(mu);
  if (!lost_) {
    why_lost_ = on_one_line(why);
    lost_ = true;
  }
}

std::string Gpu::why_lost() const {
  return !lost_ ? "" : why_lost_.empty() ? "the driver gives no reason" : why_lost_;
}

uint64_t Gpu::submit_locked(size_t n, const CommandBuffer* commands) {
  submitted_ = std::max(submitted_, wgpu().QueueSubmitForIndex(queue_, n, commands));
  flushed_ = writes_;
  void* const index = reinterpret_cast<void*>(static_cast<uintptr_t>(submitted_));
  wgpu().QueueOnSubmittedWorkDone(queue_, {nullptr, kAllowSpontaneous, on_done, this, index});
  return submitted_;
}

Gpu::Ticket Gpu::submit(Encoder encoder) {
  const CommandBuffer commands = wgpu().CommandEncoderFinish(encoder, nullptr);
  Ticket ticket;
  {
    std::lock_guard<std::mutex> lock(mu_);
    ticket.index = submit_locked(1, &commands);
  }
  wgpu().CommandBufferRelease(commands);
  wgpu().CommandEncoderRelease(encoder);
  return ticket;
}

Gpu::Ticket Gpu::write(Buffer to, size_t offset, const void* from, size_t bytes) {
  std::lock_guard<std::mutex> lock(mu_);
  wgpu().QueueWriteBuffer(queue_, to, offset, from, bytes);
  return {0, ++writes_};
}

// Of a write that waits, its submission is made here.
uint64_t Gpu::index_of(const Ticket& ticket) {
  if (ticket.index != 0) {
    return ticket.index;
  }
  std::lock_guard<std::mutex> lock(mu_);
  return ticket.write > flushed_ ? submit_locked(0, nullptr) : submitted_;
}

bool Gpu::has_ended(const Ticket& ticket) {
  if (lost_) {
    return true;
  }
  const uint64_t index = index_of(ticket);
  if (ended_ < index) {
    wgpu().DevicePoll(device_, 0, nullptr);
  }
  if (ended_ < index) {
    return false;
  }
  take_until(index);
  return true;
}

void Gpu::wait(const Ticket& ticket) {
  if (lost_) {
    return;
  }
  const uint64_t index = index_of(ticket);
  if (ended_ < index) {
    wgpu().DevicePoll(device_, 1, &index);
    on_done(kSuccess, {}, this, reinterpret_cast<void*>(static_cast<uintptr_t>(index)));
  }
  take_until(index);
}

void Gpu::take_until(uint64_t index) {
  for (;;) {
    ReadBackPtr next;
    {
      std::lock_guard<std::mutex> lock(mu_);
      while (!mapped_.empty() && mapped_.front().second->done) {
        mapped_.pop_front();
      }
      if (mapped_.empty() || mapped_.front().first > index) {
        return;
      }
      next = mapped_.front().second;
    }
    take(next);  // waits for another thread that takes it
  }
}

void Gpu::wait_for_all() {
  Ticket last;
  {
    std::lock_guard<std::mutex> lock(mu_);
    last = {flushed_ == writes_ ? submitted_ : 0, writes_};
  }
  if (last.index != 0 || last.write != 0) {
    wait(last);
  }
}

ReadBackPtr Gpu::read_back(Encoder encoder, Buffer from, size_t offset, size_t bytes) {
  const auto r = std::make_shared<ReadBack>();
  r->capacity = kSmallestReadBack;
  while (r->capacity < bytes) {
    r->capacity *= 2;
  }
  {
    std::lock_guard<std::mutex> lock(mu_);
    const auto kept = free_.find(r->capacity);
    if (kept != free_.end()) {
      r->staging = kept->second;
      free_bytes_ -= r->capacity;
      free_.erase(kept);
    }
  }
  if (!r->staging) {
    const BufferDescriptor descriptor{nullptr, {}, kUsageMapRead | kUsageCopyDestination, r->capacity, 0};
    r->staging = wgpu().DeviceCreateBuffer(device_, &descriptor);
  }
  r->length = r->bytes = bytes;
  wgpu().CommandEncoderCopyBufferToBuffer(encoder, from, offset, r->staging, 0, bytes);
  return r;
}

void Gpu::map(const ReadBackPtr& r, const Ticket& ticket) {
  {
    std::lock_guard<std::mutex> lock(mu_);
    const auto later = [](uint64_t index, const auto& entry) { return index < entry.first; };
    mapped_.emplace(std::upper_bound(mapped_.begin(), mapped_.end(), ticket.index, later), ticket.index, r);
  }
  // wgpu-native hands the pointer to the thread that polls, under its own locks, which ThreadSanitizer does not see.
  static std::atomic<uint32_t> handed_over{0};
  const auto on_mapped = [](uint32_t status, StringView, void* a, void*) {
    handed_over.load(std::memory_order_acquire);
    const std::unique_ptr<ReadBackPtr> held(static_cast<ReadBackPtr*>(a));
    (*held)->state = status == kSuccess ? 1 : -1;
  };
  auto* const held = new ReadBackPtr(r);
  handed_over.fetch_add(1, std::memory_order_release);
  wgpu().BufferMapAsync(r->staging, kMapRead, 0, r->length, {nullptr, kAllowSpontaneous, on_mapped, held, nullptr});
}

bool Gpu::take(const ReadBackPtr& r) {
  std::lock_guard<std::mutex> only_one(r->mu);
  if (r->done) {
    return r->succeeded;
  }
  while (r->state == 0 && !lost_) {  // the submission has ended; another thread may be about to call the callback
    wgpu().DevicePoll(device_, 0, nullptr);
    if (r->state == 0) {
      std::this_thread::yield();
    }
  }
  const void* bytes = r->state > 0 ? wgpu().BufferGetConstMappedRange(r->staging, 0, r->length) : nullptr;
  if (!bytes) {
    wgpu().BufferRelease(r->staging);
    r->done = true;
    return false;
  }
  if (r->to) {
    std::memcpy(r->to, static_cast<const char*>(bytes) + r->skip, r->bytes);
  }
  wgpu().BufferUnmap(r->staging);
  r->succeeded = true;
  r->done = true;
  std::lock_guard<std::mutex> lock(mu_);
  if (free_bytes_ + r->capacity <= kKeepReadBackBytes) {
    free_bytes_ += r->capacity;
    free_.emplace(r->capacity, r->staging);
  } else {
    wgpu().BufferRelease(r->staging);
  }
  return true;
}

}  // namespace wg
}  // namespace coexec
