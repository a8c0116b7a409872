"""CMake compares the runtime's declarations with TVM's headers, where TVM_HOME has them.

The headers here are stand-ins of the few declarations that the comparison looks at: TVM's own are not to be had without
its sources.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

C_API = """
#pragma once
#include <cstddef>
#include <cstdint>
typedef enum { kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3, kDLOpenCL = 4, kDLVulkan = 7, kDLROCMHost = 11 } DLDeviceType;
typedef enum { kDLInt = 0U, kDLUInt = 1U, kDLFloat = 2U } DLDataTypeCode;
typedef struct { DLDeviceType device_type; int32_t device_id; } DLDevice;
typedef struct { uint8_t code; uint8_t bits; uint16_t lanes; } DLDataType;
typedef struct {
  void* data; DLDevice device; int32_t ndim; DLDataType dtype; int64_t* shape; int64_t* strides; uint64_t byte_offset;
} DLTensor;
typedef struct DLManagedTensor {
  DLTensor dl_tensor; void* manager_ctx; void (*deleter)(struct DLManagedTensor*);
} DLManagedTensor;
typedef union { int64_t v_int64; double v_float64; void* v_handle; const char* v_str; DLDevice v_device; } TVMValue;
enum {
  kTVMOpaqueHandle = 3, kTVMNullptr = 4, kTVMDLTensorHandle = 7, kTVMObjectHandle = 8, kTVMModuleHandle = 9,
  kTVMPackedFuncHandle = 10, kTVMStr = 11, kTVMNDArrayHandle = 13
};
extern "C" { int TVMObjectRetain(void*); int TVMObjectFree(void*); }
"""
MODULE = """
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>
#include <tvm/runtime/c_runtime_api.h>
namespace tvm { namespace runtime {
class Object { public: uint32_t type_index_; int32_t ref_counter_; void (*deleter_)(Object*); };
class ObjectRef { public: void* data_; };
class PackedFunc : public ObjectRef {};
class Module : public ObjectRef {};
class StringObj : public Object { public: const char* data; uint64_t size; };
enum ModulePropertyMask : int { kBinarySerializable = 1, kRunnable = 2, kDSOExportable = 4 };
class ModuleNode : public Object {
 public:
  virtual ~ModuleNode() = default;
  virtual const char* type_key() const = 0;
 protected:
  std::vector<Module> imports_;
  std::unordered_map<std::string, std::shared_ptr<PackedFunc>> import_cache_;
  std::mutex mutex_;
};
}}
"""
DEVICE = "#pragma once\nnamespace tvm { namespace runtime { class DeviceAPI { public: virtual ~DeviceAPI() {} }; } }\n"
TIMER = """
#pragma once
#include <tvm/runtime/module.h>
namespace tvm { namespace runtime {
class TimerNode : public Object { public: virtual void Start() = 0; virtual ~TimerNode() {} };
}}
"""
STREAM = """
#pragma once
#include DMLC_USE_LOGGING_LIBRARY
namespace dmlc { class Stream { public: virtual ~Stream() {} }; }
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    runtime, dmlc = tmp_path / "include/tvm/runtime", tmp_path / "3rdparty/dmlc-core/include/dmlc"
    runtime.mkdir(parents=True)
    dmlc.mkdir(parents=True)
    (runtime / "c_runtime_api.h").write_text(C_API)
    (runtime / "module.h").write_text(MODULE)
    (runtime / "device_api.h").write_text(DEVICE)
    (runtime / "profiling.h").write_text(TIMER)
    (runtime / "logging.h").write_text("#pragma once\n")
    (dmlc / "io.h").write_text(STREAM)
    return tmp_path


def configure(home: Path) -> str:
    command = ["cmake", "-S", str(ROOT), "-B", str(home / "build"), f"-DTVM_HOME={home}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_headers_that_fit(home: Path) -> None:
    text = configure(home)
    assert f"The headers in {home} fit the runtime's declarations of TVM" in text, text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("c_runtime_api.h", "int64_t* strides;", "int64_t* strides; void* more;", "DLTensor"),
        ("c_runtime_api.h", "kTVMNDArrayHandle = 13", "kTVMNDArrayHandle = 14", "type codes"),
        ("module.h", "std::mutex mutex_;", "std::mutex mutex_; int more;", "tvm::runtime::ModuleNode"),
        ("module.h", "class Object { public:", "class Object { public: virtual ~Object() {}", "tvm::runtime::Object"),
    ],
)
def test_headers_that_do_not_fit(home: Path, file: str, old: str, new: str, named: str) -> None:
    path = home / "include/tvm/runtime" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    out = configure(home)
    assert "do not fit the runtime's declarations of TVM" in " ".join(out.split()) and named in out, out


def test_a_home_without_headers(tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    assert f"No TVM headers in {tmp_path}" in configure(tmp_path)
