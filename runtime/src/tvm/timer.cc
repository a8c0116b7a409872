#include "timer.h"

#include <chrono>

#include "../cl/device.h"
#include "packed.h"

namespace coexec {
namespace {

using Clock = std::chrono::steady_clock;

class WallTimer final : public tvm_abi::TimerNode {
 public:
  explicit WallTimer(Device& device) : device_(device) {
    type_index = coexec::type_index("TimerNode");
    ref_count = 1;
    deleter = [](tvm_abi::Object* o) { delete static_cast<WallTimer*>(o); };
  }
  void Start() override {
    device_.sync(nullptr);
    start_ = Clock::now();
  }
  void Stop() override {
    device_.sync(nullptr);
    elapsed_ = Clock::now() - start_;
  }
  int64_t SyncAndGetElapsedNanos() override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed_).count();
  }

 private:
  Device& device_;
  Clock::time_point start_;
  Clock::duration elapsed_{};
};

}  // namespace

tvm_abi::Object* make_timer(Api api, int device_id) {
  return new WallTimer(Workspace::get(api).device(device_id));
}

}  // namespace coexec
