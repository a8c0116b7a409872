// What the handles of cl_api.h stand for in this driver.
#pragma once
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "gpu.h"
#include "wgsl.h"

namespace coexec {

struct _cl_platform_id {};

struct _cl_device_id : wg::AdapterRecord {};

struct _cl_context {
  const _cl_device_id* adapter = nullptr;
  // The device; a new one once the last is lost, whose buffers stay lost. Null, with the reason as the error's detail,
  // if there is none.
  wg::GpuPtr gpu();

  std::mutex mu;
  std::set<cl_kernel> kernels;

 private:
  wg::GpuPtr gpu_;
};

struct _cl_command_queue {
  cl_context context = nullptr;
  bool profiling = false;
};

// A buffer, or a part of one from an offset on.
struct _cl_mem {
  cl_context context = nullptr;
  wg::GpuPtr gpu;
  wg::Buffer buffer = nullptr;
  size_t offset = 0;
  size_t bytes = 0;   // of the whole buffer, as asked for
  size_t padded = 0;  // of the whole buffer: a multiple of four
  uint64_t number = 0;
  bool is_part = false;
};

struct _cl_program {
  cl_context context = nullptr;
  std::string source, log;
  wg::WgslInterface interface;
};

struct _cl_kernel {
  cl_context context = nullptr;
  std::string name, source;
  wg::WgslInterface interface;

  struct Argument {
    cl_mem mem = nullptr;
    bool is_buffer = false, is_set = false;
    uint32_t scalar = 0;
  };
  std::vector<Argument> arguments;

  std::mutex mu;
  // The pipelines with the buffers as the source declares them, and with all of them writable.
  struct Built {
    wg::Pipeline pipeline = nullptr;
    wg::BindGroupLayout layout = nullptr;
  };
  wg::GpuPtr gpu;  // of all below
  Built built[2];
  struct Group {
    wg::BindGroup handle = nullptr;
    wg::Buffer scalars = nullptr;
    std::vector<uint64_t> buffers;  // their numbers
  };
  std::map<std::vector<uint64_t>, Group> groups;

  void release_groups();
  void release_all();
};

struct _cl_event {
  wg::GpuPtr gpu;
  wg::Gpu::Ticket ticket;
  wg::ReadBackPtr read, times;
  uint64_t ticks[2] = {0, 0};
  std::atomic<bool> timed{false};  // ticks are, or will be, those of the device
  int64_t queued_ns = 0;           // host's clock, for devices without timestamps
  std::atomic<int64_t> end_ns{0};
  std::atomic<cl_int> error{0};

  bool finish();  // once the submission has ended; false if it failed
};

namespace wg {

// Begin and end of a command on the device's clock, on queues that record them.
class CommandTimer {
 public:
  CommandTimer(Gpu& gpu, bool on);
  ~CommandTimer();
  const TimestampWrites* writes() const { return set_ ? &writes_ : nullptr; }  // for a pass that is the command
  void mark(Encoder encoder, bool end);                                        // around a command that is no pass
  void resolve(Encoder encoder, cl_event event);

 private:
  Gpu& gpu_;
  QuerySet set_ = nullptr;
  Buffer resolved_ = nullptr;
  TimestampWrites writes_{};
};

cl_event make_event(const GpuPtr& gpu);
int64_t host_clock_ns();

// Parts of the table (cl_api.h).
void put_memory_functions(ClApi* api);
void put_kernel_functions(ClApi* api);
void put_launch_functions(ClApi* api);
void put_event_functions(ClApi* api);
void forget_groups(cl_mem mem);  // of a buffer that goes

// The kernel's pipeline on a device, made at its first use. Null, with the reason as the error's detail, if that fails.
const _cl_kernel::Built* pipeline_of(cl_kernel k, const GpuPtr& gpu, bool all_writable);

}  // namespace wg
}  // namespace coexec
