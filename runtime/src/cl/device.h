// A device with its context and command queues, and the process's lists of devices, one for each API.
#pragma once
#include <atomic>
#include <deque>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "device_list.h"
#include "event.h"
#include "options.h"

namespace coexec {

class Device;

// Devices of all APIs have slots: opencl(0) to opencl(31), then vulkan(0) and so on.
constexpr int kMaxDevices = 32, kMaxSlots = 2 * kMaxDevices;
Device& device_in_slot(int slot);

// An in-order command queue ("stream" in TVM's terms).
struct Queue {
  Device* device;
  cl_command_queue handle = nullptr;

  Event last() const;  // the last command, or null
  void add(const Event& e);
  void settle();  // checks the commands that have ended; throws the first failure that has not been reported
  void reset();   // call when all commands have ended

 private:
  void settle_locked();
  mutable std::mutex mu_;
  Event last_;
  std::deque<Event> in_flight_;  // commands in flight, or ended and not checked yet
  std::vector<Event> failed_;    // failures that have not been reported
};

class Device {
 public:
  Device(int id, DeviceInfo info, const Options& options);

  const int id;  // opencl(id), vulkan(id)
  const DeviceInfo info;
  const int slot;          // unique among the devices of all APIs, below kMaxSlots; that of opencl(id) is id
  const Options& options;  // of its API
  Api api() const { return info.api; }
  const ClApi& driver() const { return coexec::driver(info.api); }
  cl_context context() const { return context_; }
  MemoryMode memory() const;  // Error if the requested mode is not available
  std::string memory_name() const;
  std::string text() const;  // "opencl(0) (name)", for messages

  // Kernels are enqueued on `compute` (or on the caller's stream), copies to and from the host on `transfer`, so that
  // an upload does not wait for unrelated kernels. Events order commands of different queues (region.h).
  Queue& compute() { return compute_; }
  Queue& transfer() { return transfer_; }

  Queue* create_stream();
  void free_stream(Queue* stream);
  Queue& stream(void* handle);     // null: the calling thread's current stream; Error if it is not of this device
  Queue& current();                // the calling thread's stream on this device
  void set_current(void* handle);  // null: back to the default queue
  void* current_handle();          // null for the default queue
  void finish(Queue& queue);       // waits for the queue's commands; throws the first unreported failure
  void sync(void* handle);         // null: waits for all commands of this device
  void sync_from_to(void* from, void* to);

  void drain_transfers() noexcept;  // waits for copies to and from the host, ignoring failures

  bool busy() const;  // any kernel has not ended
  bool profiling() const { return profiling_; }
  // Waits for the device, then replaces its two queues. No thread may launch commands meanwhile.
  void set_profiling(bool on);

  // Takes ownership of the raw event of an enqueued command, makes it the queue's last one, and flushes the queue,
  // since some phone drivers delay unflushed commands. `needs`: events of the commands whose results the command uses.
  Event track(Queue& queue, cl_event event, std::shared_ptr<const std::string> label, std::vector<Event> needs = {});

 private:
  cl_command_queue create_queue();
  void check_stream(const Queue* stream);

  cl_context context_ = nullptr;
  MemoryMode memory_ = MemoryMode::kAuto;
  std::string memory_error_;
  Queue compute_, transfer_;
  std::atomic<bool> profiling_{false};
  mutable std::mutex mu_;
  std::vector<Queue*> streams_, free_streams_;
  std::shared_mutex streams_live_;  // held shared to keep streams' queues alive
};

// The devices of an API in this process. Created at the first call, on an unpinned thread, and never destroyed: drivers
// run their own exit handlers, and arrays may be freed after ours.
class Workspace {
 public:
  static Workspace& get(Api api = Api::kOpenCL);               // Error with the reason if there is no device
  static std::string why_unavailable(Api api = Api::kOpenCL);  // the reason, or ""
  static bool exists(Api api, int id);
  static bool in_use(Api api);  // whether get() was called, and there are devices

  const Options& options() const { return options_; }
  Device& device(int id);
  size_t size() const { return devices_.size(); }

 private:
  explicit Workspace(Api api);
  const Api api_;
  Options options_;
  std::vector<Device*> devices_;
};

}  // namespace coexec
