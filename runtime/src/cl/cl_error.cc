#include "cl_error.h"

namespace coexec {
namespace {

struct Entry {
  cl_int code;
  const char* name;
  const char* hint;  // cause or remedy, or null
};

const Entry kErrors[] = {
    {0, "CL_SUCCESS", nullptr},
    {-1, "CL_DEVICE_NOT_FOUND", nullptr},
    {-2, "CL_DEVICE_NOT_AVAILABLE", "the device was removed, or its driver was reset"},
    {-3, "CL_COMPILER_NOT_AVAILABLE", nullptr},
    {-4, "CL_MEM_OBJECT_ALLOCATION_FAILURE", "the device is out of memory"},
    {-5, "CL_OUT_OF_RESOURCES",
     "the kernel or its buffers exceed the device's resources, or an earlier kernel crashed"},
    {-6, "CL_OUT_OF_HOST_MEMORY", nullptr},
    {-7, "CL_PROFILING_INFO_NOT_AVAILABLE", nullptr},
    {-8, "CL_MEM_COPY_OVERLAP", "source and destination overlap"},
    {-9, "CL_IMAGE_FORMAT_MISMATCH", nullptr},
    {-10, "CL_IMAGE_FORMAT_NOT_SUPPORTED", nullptr},
    {-11, "CL_BUILD_PROGRAM_FAILURE", nullptr},
    {-12, "CL_MAP_FAILURE", nullptr},
    {-13, "CL_MISALIGNED_SUB_BUFFER_OFFSET",
     "the byte offset of the view is not a multiple of the device's base address alignment"},
    {-14, "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST", "a command that this one waits for has failed"},
    {-15, "CL_COMPILE_PROGRAM_FAILURE", nullptr},
    {-16, "CL_LINKER_NOT_AVAILABLE", nullptr},
    {-17, "CL_LINK_PROGRAM_FAILURE", nullptr},
    {-18, "CL_DEVICE_PARTITION_FAILED", nullptr},
    {-19, "CL_KERNEL_ARG_INFO_NOT_AVAILABLE", nullptr},
    {-30, "CL_INVALID_VALUE", nullptr},
    {-31, "CL_INVALID_DEVICE_TYPE", nullptr},
    {-32, "CL_INVALID_PLATFORM", nullptr},
    {-33, "CL_INVALID_DEVICE", nullptr},
    {-34, "CL_INVALID_CONTEXT", nullptr},
    {-35, "CL_INVALID_QUEUE_PROPERTIES", nullptr},
    {-36, "CL_INVALID_COMMAND_QUEUE", nullptr},
    {-37, "CL_INVALID_HOST_PTR", nullptr},
    {-38, "CL_INVALID_MEM_OBJECT", nullptr},
    {-39, "CL_INVALID_IMAGE_FORMAT_DESCRIPTOR", nullptr},
    {-40, "CL_INVALID_IMAGE_SIZE", nullptr},
    {-41, "CL_INVALID_SAMPLER", nullptr},
    {-42, "CL_INVALID_BINARY", nullptr},
    {-43, "CL_INVALID_BUILD_OPTIONS", "see TVM_COEXEC_OPENCL_BUILD_OPTIONS"},
    {-44, "CL_INVALID_PROGRAM", nullptr},
    {-45, "CL_INVALID_PROGRAM_EXECUTABLE", nullptr},
    {-46, "CL_INVALID_KERNEL_NAME", nullptr},
    {-47, "CL_INVALID_KERNEL_DEFINITION", nullptr},
    {-48, "CL_INVALID_KERNEL", nullptr},
    {-49, "CL_INVALID_ARG_INDEX", nullptr},
    {-50, "CL_INVALID_ARG_VALUE", nullptr},
    {-51, "CL_INVALID_ARG_SIZE", nullptr},
    {-52, "CL_INVALID_KERNEL_ARGS", nullptr},
    {-53, "CL_INVALID_WORK_DIMENSION", nullptr},
    {-54, "CL_INVALID_WORK_GROUP_SIZE", "the schedule's thread block does not fit this device"},
    {-55, "CL_INVALID_WORK_ITEM_SIZE", "the schedule's thread block does not fit this device"},
    {-56, "CL_INVALID_GLOBAL_OFFSET", nullptr},
    {-57, "CL_INVALID_EVENT_WAIT_LIST", nullptr},
    {-58, "CL_INVALID_EVENT", nullptr},
    {-59, "CL_INVALID_OPERATION", nullptr},
    {-60, "CL_INVALID_GL_OBJECT", nullptr},
    {-61, "CL_INVALID_BUFFER_SIZE", nullptr},
    {-62, "CL_INVALID_MIP_LEVEL", nullptr},
    {-63, "CL_INVALID_GLOBAL_WORK_SIZE", nullptr},
    {-64, "CL_INVALID_PROPERTY", nullptr},
    {-65, "CL_INVALID_IMAGE_DESCRIPTOR", nullptr},
    {-66, "CL_INVALID_COMPILER_OPTIONS", nullptr},
    {-67, "CL_INVALID_LINKER_OPTIONS", nullptr},
    {-68, "CL_INVALID_DEVICE_PARTITION_COUNT", nullptr},
    {-69, "CL_INVALID_PIPE_SIZE", nullptr},
    {-70, "CL_INVALID_DEVICE_QUEUE", nullptr},
    {-71, "CL_INVALID_SPEC_ID", nullptr},
    {-72, "CL_MAX_SIZE_RESTRICTION_EXCEEDED", nullptr},
    {-1001, "CL_PLATFORM_NOT_FOUND_KHR", "no OpenCL driver (ICD) is installed"},
    {-20002, "VULKAN_DEVICE_LOST", "the device was removed, or its driver was reset"},
    {-20004, "VULKAN_OUT_OF_MEMORY", "the device is out of memory"},
    {-20005, "VULKAN_COMMAND_REJECTED", nullptr},
    {-20006, "VULKAN_OUT_OF_HOST_MEMORY", nullptr},
    {-20011, "VULKAN_SHADER_BUILD_FAILURE", nullptr},
    {-20014, "VULKAN_EARLIER_COMMAND_FAILED", "a command that this one waits for has failed"},
    {-9999, "NVIDIA_ILLEGAL_BUFFER_ACCESS", "a kernel accessed memory outside its buffers"},
};

const Entry* find(cl_int code) {
  for (const Entry& e : kErrors) {
    if (e.code == code) {
      return &e;
    }
  }
  return nullptr;
}

struct ErrorDetail {
  cl_int code = 0;
  std::string text;
};

ErrorDetail& error_detail() {
  thread_local ErrorDetail detail;
  return detail;
}

}  // namespace

void set_error_detail(cl_int code, std::string text) {
  error_detail() = {code, std::move(text)};
}

cl_int error_detail_code() {
  return error_detail().code;
}

std::string error_name(cl_int code) {
  const Entry* e = find(code);
  return std::string(e ? e->name : "unknown OpenCL error") + " (" + std::to_string(code) + ")";
}

void raise(cl_int code, const std::string& what) {
  const Entry* e = find(code);
  std::string text = what + " failed: " + error_name(code);
  if (e && e->hint) {
    text += std::string(", ") + e->hint;
  }
  ErrorDetail& detail = error_detail();
  if (detail.code == code && !detail.text.empty()) {
    text += ": " + detail.text;
    detail = {};
  }
  throw Error(text);
}

}  // namespace coexec
