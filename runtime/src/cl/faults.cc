#include "faults.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "cl_error.h"

namespace coexec {
namespace faults {

std::atomic<bool> g_active{false};

namespace {

enum Point { kBuild, kAllocate, kLaunch, kCopy, kEvent, kLost, kPoints };
const char* const kNames[kPoints] = {"build", "allocate", "launch", "copy", "event", "lost"};
const cl_int kDefaultCodes[kPoints] = {-11, -4, -5, -5, -5, -2};

struct Plan {
  std::atomic<int64_t> skip{0};
  std::atomic<int64_t> left{0};  // negative: unlimited
  std::atomic<cl_int> code{0};
  std::atomic<uint64_t> hits{0};
};

const ClApi* g_real[2] = {nullptr, nullptr};  // by API
Plan g_plans[kPoints];
std::atomic<int64_t> g_delay_us{0};
std::atomic<uint64_t> g_seed{0}, g_drawn{0}, g_delays{0};

// Errors of accepted commands that are to fail, by the event's handle.
struct FailedCommands {
  std::mutex mu;
  std::map<cl_event, cl_int> codes;
};

FailedCommands& failed_commands() {
  static FailedCommands& f = *new FailedCommands();
  return f;
}

cl_int code_of(cl_event e) {
  FailedCommands& f = failed_commands();
  std::lock_guard<std::mutex> lock(f.mu);
  const auto it = f.codes.find(e);
  return it == f.codes.end() ? CL_SUCCESS : it->second;
}

void mark_failed(cl_event e, cl_int code) {
  FailedCommands& f = failed_commands();
  std::lock_guard<std::mutex> lock(f.mu);
  f.codes[e] = code;
  g_active = true;  // also after a concurrent clear()
}

bool any_failed(cl_uint n, const cl_event* list) {
  for (cl_uint i = 0; i < n; ++i) {
    if (code_of(list[i]) != CL_SUCCESS) {
      return true;
    }
  }
  return false;
}

// The error with which this call must fail, or CL_SUCCESS.
cl_int next_fault(Point point) {
  Plan& p = g_plans[point];
  int64_t left = p.left.load();
  if (left == 0 || p.skip.fetch_sub(1) > 0) {
    return CL_SUCCESS;
  }
  while (left > 0 && !p.left.compare_exchange_weak(left, left - 1)) {
  }
  if (left == 0) {
    return CL_SUCCESS;
  }
  p.hits++;
  return p.code;
}

// Microseconds to wait, determined by the seed and the order of the calls: 0 in three of four calls.
int64_t draw_delay() {
  const int64_t limit = g_delay_us;
  if (limit <= 0) {
    return 0;
  }
  uint64_t z = g_seed + 0x9E3779B97F4A7C15u * ++g_drawn;  // splitmix64
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  if (z & 3) {
    return 0;
  }
  g_delays++;
  return static_cast<int64_t>((z >> 2) % static_cast<uint64_t>(limit)) + 1;
}

void pause() {
  if (const int64_t us = draw_delay()) {
    std::this_thread::sleep_for(std::chrono::microseconds(us));
  }
}

cl_int draw_fault(Point point) {
  pause();
  const cl_int lost = next_fault(kLost);
  return lost != CL_SUCCESS || point == kLost ? lost : next_fault(point);
}

// The functions that inject faults into the driver of an API.
template <Api api>
struct Faulty {
  static const ClApi* real() { return g_real[static_cast<int>(api)]; }
  // Vulkan's codes are those of OpenCL minus 20000 (cl_error.cc).
  static cl_int of(cl_int code) { return api == Api::kVulkan && code < 0 && code > -1000 ? code - 20000 : code; }
  static cl_int next(Point point) { return of(next_fault(point)); }
  static cl_int check_faults(Point point) { return of(draw_fault(point)); }

  // A command's wait list with an additional event that completes later, so that the device starts the command late.
  struct DelayedWaitList {
    std::vector<cl_event> list;

    DelayedWaitList(cl_command_queue queue, cl_uint n, const cl_event* given) : list(given, given + n) {
      if (!real()->CreateUserEvent || !real()->SetUserEventStatus || !real()->GetCommandQueueInfo) {
        return;
      }
      us_ = draw_delay();
      cl_context context = nullptr;
      if (us_ == 0 ||
          real()->GetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof context, &context, nullptr) != CL_SUCCESS) {
        return;
      }
      cl_int code = CL_SUCCESS;
      gate_ = real()->CreateUserEvent(context, &code);
      if (gate_) {
        list.push_back(gate_);
      }
    }
    DelayedWaitList(const DelayedWaitList&) = delete;
    ~DelayedWaitList() {
      if (gate_) {  // the command is enqueued: only the driver has another reference
        std::thread([gate = gate_, us = us_] {
          std::this_thread::sleep_for(std::chrono::microseconds(us));
          real()->SetUserEventStatus(gate, CL_COMPLETE);
          real()->ReleaseEvent(gate);
        }).detach();
      }
    }
    cl_uint size() const { return static_cast<cl_uint>(list.size()); }
    const cl_event* data() const { return list.empty() ? nullptr : list.data(); }

   private:
    cl_event gate_ = nullptr;
    int64_t us_ = 0;
  };

  // Enqueues with `call(size, list, event)`. A command that is to fail is replaced by a marker, unless it `must_run`
  // (mapped memory has to be unmapped).
  template <class Real>
  static cl_int enqueue(Point point, cl_command_queue queue, cl_bool blocking, bool must_run, cl_uint n,
                        const cl_event* list, cl_event* event, const Real& call) {
    if (const cl_int code = check_faults(point)) {
      return code;
    }
    cl_int bad = any_failed(n, list) ? of(-14) : next(kEvent);
    if (bad != CL_SUCCESS && (blocking || !event)) {
      return bad;
    }
    if (blocking) {
      return call(n, list, event);
    }
    const DelayedWaitList delayed(queue, n, list);
    cl_int code = CL_SUCCESS;
    if (bad == CL_SUCCESS || must_run) {
      code = call(delayed.size(), delayed.data(), event);
    } else {
      code = real()->EnqueueMarkerWithWaitList(queue, delayed.size(), delayed.data(), event);
    }
    if (code == CL_SUCCESS && bad != CL_SUCCESS) {
      mark_failed(*event, bad);
    }
    return code;
  }

  // ---- the functions ----
  static cl_mem create_buffer(cl_context c, cl_bitfield flags, size_t n, void* p, cl_int* code) {
    *code = check_faults(kAllocate);
    return *code ? nullptr : real()->CreateBuffer(c, flags, n, p, code);
  }

  static cl_mem create_sub_buffer(cl_mem m, cl_bitfield flags, cl_uint type, const void* part, cl_int* code) {
    *code = check_faults(kLost);
    return *code ? nullptr : real()->CreateSubBuffer(m, flags, type, part, code);
  }

  static void* svm_alloc(cl_context c, cl_bitfield flags, size_t n, cl_uint align) {
    return check_faults(kAllocate) ? nullptr : real()->SVMAlloc(c, flags, n, align);
  }

  static cl_command_queue create_queue(cl_context c, cl_device_id d, cl_bitfield flags, cl_int* code) {
    *code = check_faults(kLost);
    return *code ? nullptr : real()->CreateCommandQueue(c, d, flags, code);
  }

  static cl_command_queue create_queue_2(cl_context c, cl_device_id d, const cl_ulong* properties, cl_int* code) {
    *code = check_faults(kLost);
    return *code ? nullptr : real()->CreateCommandQueueWithProperties(c, d, properties, code);
  }

  static cl_program create_program(cl_context c, cl_uint n, const char** text, const size_t* lengths, cl_int* code) {
    *code = check_faults(kLost);
    return *code ? nullptr : real()->CreateProgramWithSource(c, n, text, lengths, code);
  }

  static cl_int build_program(cl_program p, cl_uint n, const cl_device_id* d, const char* options,
                              void (*f)(cl_program, void*), void* data) {
    const cl_int code = check_faults(kBuild);
    return code ? code : real()->BuildProgram(p, n, d, options, f, data);
  }

  static cl_kernel create_kernel(cl_program p, const char* name, cl_int* code) {
    *code = check_faults(kLost);
    return *code ? nullptr : real()->CreateKernel(p, name, code);
  }

  static cl_int launch(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t* offset, const size_t* global,
                       const size_t* local, cl_uint n, const cl_event* list, cl_event* event) {
    return enqueue(kLaunch, q, kAsync, false, n, list, event, [&](cl_uint m, const cl_event* l, cl_event* e) {
      return real()->EnqueueNDRangeKernel(q, k, dims, offset, global, local, m, l, e);
    });
  }

  static cl_int read_buffer(cl_command_queue q, cl_mem b, cl_bool wait, size_t at, size_t bytes, void* to, cl_uint n,
                            const cl_event* list, cl_event* event) {
    return enqueue(kCopy, q, wait, false, n, list, event, [&](cl_uint m, const cl_event* l, cl_event* e) {
      return real()->EnqueueReadBuffer(q, b, wait, at, bytes, to, m, l, e);
    });
  }

  static cl_int write_buffer(cl_command_queue q, cl_mem b, cl_bool wait, size_t at, size_t bytes, const void* from,
                             cl_uint n, const cl_event* list, cl_event* event) {
    return enqueue(kCopy, q, wait, false, n, list, event, [&](cl_uint m, const cl_event* l, cl_event* e) {
      return real()->EnqueueWriteBuffer(q, b, wait, at, bytes, from, m, l, e);
    });
  }

  static cl_int copy_buffer(cl_command_queue q, cl_mem a, cl_mem b, size_t from, size_t to, size_t bytes, cl_uint n,
                            const cl_event* list, cl_event* event) {
    return enqueue(kCopy, q, kAsync, false, n, list, event, [&](cl_uint m, const cl_event* l, cl_event* e) {
      return real()->EnqueueCopyBuffer(q, a, b, from, to, bytes, m, l, e);
    });
  }

  static cl_int svm_memcpy(cl_command_queue q, cl_bool wait, void* to, const void* from, size_t bytes, cl_uint n,
                           const cl_event* list, cl_event* event) {
    return enqueue(kCopy, q, wait, false, n, list, event, [&](cl_uint m, const cl_event* l, cl_event* e) {
      return real()->EnqueueSVMMemcpy(q, wait, to, from, bytes, m, l, e);
    });
  }

  static void* map_buffer(cl_command_queue q, cl_mem b, cl_bool wait, cl_bitfield flags, size_t at, size_t bytes,
                          cl_uint n, const cl_event* list, cl_event* event, cl_int* code) {
    void* address = nullptr;
    *code = enqueue(kCopy, q, wait, true, n, list, event, [&](cl_uint m, const cl_event* l, cl_event* e) {
      cl_int mapped = CL_SUCCESS;
      address = real()->EnqueueMapBuffer(q, b, wait, flags, at, bytes, m, l, e, &mapped);
      return mapped;
    });
    return *code ? nullptr : address;
  }

  static cl_int svm_map(cl_command_queue q, cl_bool wait, cl_bitfield flags, void* p, size_t bytes, cl_uint n,
                        const cl_event* list, cl_event* event) {
    return enqueue(kCopy, q, wait, true, n, list, event, [&](cl_uint m, const cl_event* l, cl_event* e) {
      return real()->EnqueueSVMMap(q, wait, flags, p, bytes, m, l, e);
    });
  }

  static cl_int unmap(cl_command_queue q, cl_mem b, void* p, cl_uint n, const cl_event* list, cl_event* event) {
    return enqueue(kLost, q, kAsync, true, n, list, event, [&](cl_uint m, const cl_event* l, cl_event* e) {
      return real()->EnqueueUnmapMemObject(q, b, p, m, l, e);
    });
  }

  static cl_int svm_unmap(cl_command_queue q, void* p, cl_uint n, const cl_event* list, cl_event* event) {
    return enqueue(kLost, q, kAsync, true, n, list, event,
                   [&](cl_uint m, const cl_event* l, cl_event* e) { return real()->EnqueueSVMUnmap(q, p, m, l, e); });
  }

  static cl_int marker(cl_command_queue q, cl_uint n, const cl_event* list, cl_event* event) {
    const cl_int code = check_faults(kLost);
    return code ? code : real()->EnqueueMarkerWithWaitList(q, n, list, event);
  }

  static cl_int barrier(cl_command_queue q, cl_uint n, const cl_event* list, cl_event* event) {
    const cl_int code = check_faults(kLost);
    return code ? code : real()->EnqueueBarrierWithWaitList(q, n, list, event);
  }

  // The real device still uses the memory when it is "lost" for tests, so this waits in any case.
  static cl_int wait_for_events(cl_uint n, const cl_event* list) {
    const cl_int lost = check_faults(kLost);
    const cl_int code = real()->WaitForEvents(n, list);
    pause();
    return lost ? lost : code != CL_SUCCESS ? code : any_failed(n, list) ? of(-14) : CL_SUCCESS;
  }

  static cl_int finish(cl_command_queue q) {
    const cl_int lost = check_faults(kLost);
    const cl_int code = real()->Finish(q);
    return lost ? lost : code;
  }

  static cl_int flush(cl_command_queue q) {
    const cl_int lost = check_faults(kLost);
    const cl_int code = real()->Flush(q);
    return lost ? lost : code;
  }

  static cl_int get_event_info(cl_event e, cl_uint key, size_t n, void* to, size_t* size) {
    const cl_int code = real()->GetEventInfo(e, key, n, to, size);
    cl_int status = CL_QUEUED;
    if (code == CL_SUCCESS && key == CL_EVENT_COMMAND_EXECUTION_STATUS && n >= sizeof status && to) {
      std::memcpy(&status, to, sizeof status);
      const cl_int bad = status == CL_COMPLETE ? code_of(e) : CL_SUCCESS;
      if (bad != CL_SUCCESS) {
        std::memcpy(to, &bad, sizeof bad);
      }
    }
    return code;
  }

  static cl_int release_event(cl_event e) {
    {
      FailedCommands& f = failed_commands();
      std::lock_guard<std::mutex> lock(f.mu);
      f.codes.erase(e);
    }
    return real()->ReleaseEvent(e);
  }
};

Point point_of(const std::string& what) {
  for (int i = 0; i < kPoints; ++i) {
    if (what == kNames[i]) {
      return static_cast<Point>(i);
    }
  }
  std::string all;
  for (const char* name : kNames) {
    all += std::string(name) + ", ";
  }
  throw Error("there is no fault '" + what + "': use one of " + all + "delay");
}

}  // namespace

namespace {

template <class F>
ClApi table_of(const ClApi& real) {
  ClApi api = real;
  const auto put = [](auto& slot, auto f) { slot = slot ? f : nullptr; };  // functions that the driver lacks stay null
  put(api.CreateBuffer, F::create_buffer);
  put(api.CreateSubBuffer, F::create_sub_buffer);
  put(api.SVMAlloc, F::svm_alloc);
  put(api.CreateCommandQueue, F::create_queue);
  put(api.CreateCommandQueueWithProperties, F::create_queue_2);
  put(api.CreateProgramWithSource, F::create_program);
  put(api.BuildProgram, F::build_program);
  put(api.CreateKernel, F::create_kernel);
  put(api.EnqueueNDRangeKernel, F::launch);
  put(api.EnqueueReadBuffer, F::read_buffer);
  put(api.EnqueueWriteBuffer, F::write_buffer);
  put(api.EnqueueCopyBuffer, F::copy_buffer);
  put(api.EnqueueSVMMemcpy, F::svm_memcpy);
  put(api.EnqueueMapBuffer, F::map_buffer);
  put(api.EnqueueSVMMap, F::svm_map);
  put(api.EnqueueUnmapMemObject, F::unmap);
  put(api.EnqueueSVMUnmap, F::svm_unmap);
  put(api.EnqueueMarkerWithWaitList, F::marker);
  put(api.EnqueueBarrierWithWaitList, F::barrier);
  put(api.WaitForEvents, F::wait_for_events);
  put(api.Finish, F::finish);
  put(api.Flush, F::flush);
  put(api.GetEventInfo, F::get_event_info);
  put(api.ReleaseEvent, F::release_event);
  return api;
}

}  // namespace

ClApi wrap(Api api, const ClApi& real) {
  g_real[static_cast<int>(api)] = &real;
  return api == Api::kOpenCL ? table_of<Faulty<Api::kOpenCL>>(real) : table_of<Faulty<Api::kVulkan>>(real);
}

void inject(const std::string& what, int64_t nth, int64_t count, cl_int code) {
  const Point point = point_of(what);
  if (nth < 1 || code > 0) {
    throw Error("a fault needs the number of the first call to fail, at least 1, and a negative OpenCL error code");
  }
  Plan& p = g_plans[point];
  p.left = 0;
  p.code = code == 0 ? kDefaultCodes[point] : code;
  p.skip = nth - 1;
  p.left = count;
  g_active = true;
}

void delay(int64_t limit_us, uint64_t seed) {
  g_seed = seed;
  g_drawn = 0;
  g_delay_us = limit_us;
  g_active = true;
}

void inject_text(const std::string& text) {
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin), what = item.substr(0, item.find(':'));
    std::vector<int64_t> numbers;
    for (size_t at = item.find(':'); at != std::string::npos; at = item.find(':', at + 1)) {
      const std::string number = item.substr(at + 1, item.find(':', at + 1) - at - 1);
      char* rest = nullptr;
      numbers.push_back(std::strtoll(number.c_str(), &rest, 10));
      if (number.empty() || *rest || numbers.size() > 3) {
        throw Error("'" + item + "' is not a fault: write, for example, launch:3:1:-5 or delay:500:7");
      }
    }
    const auto number = [&](size_t i, int64_t fallback) { return i < numbers.size() ? numbers[i] : fallback; };
    if (what == "delay") {
      delay(number(0, 1000), static_cast<uint64_t>(number(1, 0)));
    } else {
      inject(what, number(0, 1), number(1, 1), static_cast<cl_int>(number(2, 0)));
    }
    begin = end + 1;
  }
}

void clear() {
  for (Plan& p : g_plans) {
    p.left = 0;
  }
  g_delay_us = 0;
  // Failed events must stay failed until they are released.
  FailedCommands& f = failed_commands();
  std::lock_guard<std::mutex> lock(f.mu);
  g_active = !f.codes.empty();
}

uint64_t hits(const std::string& what) {
  return what == "delay" ? g_delays.load() : g_plans[point_of(what)].hits.load();
}

}  // namespace faults
}  // namespace coexec
