#include "cl/device_list.h"

#include "check.h"
#include "cl/cl_error.h"

using namespace coexec;

namespace {

DeviceInfo device(int platform, int index, cl_bitfield type, const char* platform_name, const char* name) {
  DeviceInfo d;
  d.handle = reinterpret_cast<cl_device_id>(static_cast<intptr_t>(1 + platform * 10 + index));
  d.platform_index = platform;
  d.device_index = index;
  d.type = type;
  d.platform_name = platform_name;
  d.name = name;
  return d;
}

const std::vector<DeviceInfo> kAll = {
    device(0, 0, CL_DEVICE_TYPE_CPU, "Portable Computing Language", "pthread-EPYC"),
    device(1, 0, CL_DEVICE_TYPE_ACCELERATOR, "Acme", "dsp"),
    device(1, 1, CL_DEVICE_TYPE_GPU, "Acme", "small gpu"),
    device(2, 0, CL_DEVICE_TYPE_GPU, "ARM Platform", "Mali-G78"),
};

std::string chosen(const std::string& wanted) {
  std::string text;
  for (const DeviceInfo& d : select_devices(kAll, wanted)) {
    text += d.name + ";";
  }
  return text;
}

DeviceInfo capable(cl_bitfield svm, bool unified) {
  DeviceInfo d = device(0, 0, CL_DEVICE_TYPE_GPU, "p", "d");
  d.svm = svm;
  d.unified = unified;
  return d;
}

const cl_bitfield kCoarse = CL_DEVICE_SVM_COARSE_GRAIN_BUFFER, kFine = kCoarse | CL_DEVICE_SVM_FINE_GRAIN_BUFFER;

}  // namespace

TEST(device_list, gpus_first_then_accelerators_then_cpus) {
  CHECK_EQ(chosen("all"), "small gpu;Mali-G78;dsp;pthread-EPYC;");
}

TEST(device_list, choice_by_type_name_and_index) {
  CHECK_EQ(chosen("gpu"), "small gpu;Mali-G78;");
  CHECK_EQ(chosen("cpu"), "pthread-EPYC;");
  CHECK_EQ(chosen("accelerator"), "dsp;");
  CHECK_EQ(chosen("arm"), "Mali-G78;");
  CHECK_EQ(chosen("portable computing"), "pthread-EPYC;");
  CHECK_EQ(chosen("mali"), "Mali-G78;");
  CHECK_EQ(chosen("2:0"), "Mali-G78;");
}

TEST(device_list, items_are_taken_in_their_order_and_only_once) {
  CHECK_EQ(chosen("cpu, gpu"), "pthread-EPYC;small gpu;Mali-G78;");
  CHECK_EQ(chosen("2:0,1:1,2:0"), "Mali-G78;small gpu;");
  CHECK_EQ(chosen("mali,all"), "Mali-G78;small gpu;dsp;pthread-EPYC;");
}

TEST(device_list, no_match_lists_what_there_is) {
  for (const char* wanted : {"adreno", "7:7", ",", "0:0x"}) {
    const std::string text = message_of([&] { select_devices(kAll, wanted); });
    CHECK(contains(text, "TVM_COEXEC_OPENCL_DEVICES") && contains(text, wanted) &&
          contains(text, "2:0 Mali-G78 (gpu, ARM Platform)"));
  }
}

TEST(device_list, memory_mode_by_what_the_device_can_do) {
  CHECK(choose_memory(capable(0, false), MemoryMode::kAuto, true) == MemoryMode::kBuffer);
  CHECK(choose_memory(capable(kFine, false), MemoryMode::kAuto, true) == MemoryMode::kBuffer);  // a discrete GPU
  CHECK(choose_memory(capable(kFine, true), MemoryMode::kAuto, true) == MemoryMode::kFineSvm);
  CHECK(choose_memory(capable(kCoarse, true), MemoryMode::kAuto, true) == MemoryMode::kCoarseSvm);
  CHECK(choose_memory(capable(0, true), MemoryMode::kAuto, true) == MemoryMode::kHostPtr);
  CHECK(choose_memory(capable(kFine, true), MemoryMode::kAuto, false) == MemoryMode::kHostPtr);  // an OpenCL 1.2 loader
  CHECK(choose_memory(capable(kFine, true), MemoryMode::kBuffer, true) == MemoryMode::kBuffer);
  CHECK(choose_memory(capable(kCoarse, false), MemoryMode::kCoarseSvm, true) == MemoryMode::kCoarseSvm);
}

TEST(device_list, a_memory_mode_that_the_device_lacks_is_an_error) {
  CHECK(
      contains(message_of([] { choose_memory(capable(kCoarse, true), MemoryMode::kFineSvm, true); }), "fine-grained"));
  CHECK(contains(message_of([] { choose_memory(capable(0, true), MemoryMode::kCoarseSvm, true); }), "coarse-grained"));
}
