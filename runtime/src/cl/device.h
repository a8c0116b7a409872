// One OpenCL device with its context, its command queues and what was enqueued last; and the process's list of them.
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

// An in-order command queue ("stream" in TVM's words).
struct Queue {
  Device* device;
  cl_command_queue handle = nullptr;

  Event last() const;  // the last command, or null
  void add(const Event& e);
  void settle();  // Error for the first that has failed and of which nobody has been told
  void reset();   // when all have ended

 private:
  void settle_locked();
  mutable std::mutex mu_;
  Event last_;
  std::deque<Event> in_flight_;  // and those that nobody has looked at since they ended
  std::vector<Event> failed_;    // those that nobody had been told of
};

class Device {
 public:
  Device(int id, DeviceInfo info, const Options& options);

  const int id;
  const DeviceInfo info;
  cl_context context() const { return context_; }
  MemoryMode memory() const;  // Error where the mode that the user asked for is not to be had
  std::string memory_name() const;
  std::string text() const;  // "opencl(0) (name)", for messages

  // Kernels go to `compute` (or to a stream of the caller's), copies to and from the host to `transfer`, so that an
  // upload need not queue up behind kernels that have nothing to do with it. Order between the queues is kept by events
  // (memory.h).
  Queue& compute() { return compute_; }
  Queue& transfer() { return transfer_; }

  Queue* create_stream();
  void free_stream(Queue* stream);
  Queue& stream(void* handle);     // null: the calling thread's current one; Error when it isn't one of this device's
  Queue& current();                // the calling thread's stream on this device
  void set_current(void* handle);  // null: back to the default queue
  void* current_handle();          // null while it is the default one
  void sync(void* handle);         // null: everything that was enqueued on this device
  void sync_from_to(void* from, void* to);

  void drain_transfers() noexcept;  // waits for copies to and from the host, whatever became of them

  bool busy() const;  // has any kernel that has not ended
  bool profiling() const { return profiling_; }
  void set_profiling(
      bool on);  // waits for the device, then exchanges its own two queues; call it while nobody launches

  // Wraps a raw event (taking it over), makes it the queue's last and sends the command off: phone drivers may sit on
  // unflushed work.
  // `needs`: what the command waits for and uses.
  Event submitted(Queue& queue, cl_event event, std::shared_ptr<const std::string> label,
                  std::vector<Event> needs = {});

 private:
  cl_command_queue create_queue();
  void check_stream(const Queue* stream);
  void finish(Queue& queue);

  cl_context context_ = nullptr;
  MemoryMode memory_ = MemoryMode::kAuto;
  std::string memory_error_;
  Queue compute_, transfer_;
  std::atomic<bool> profiling_{false};
  mutable std::mutex mu_;
  std::vector<Queue*> streams_, free_streams_;
  std::shared_mutex streams_live_;  // shared: no stream's queue is released
};

// The devices of this process. Made at the first call, on a thread that is not confined to TVM's core, and never
// destroyed: drivers run their own exit handlers, and arrays may outlive ours.
class Workspace {
 public:
  static Workspace& get();               // Error with the reason when there is no device
  static std::string why_unavailable();  // that reason, or ""
  static bool exists(int id);

  const Options& options() const { return options_; }
  Device& device(int id);
  size_t size() const { return devices_.size(); }

 private:
  Workspace();
  Options options_;
  std::vector<Device*> devices_;
};

}  // namespace coexec
