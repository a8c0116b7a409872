/* Run a co-executed module from C or C++.
 *
 * Link with libtvm_coexec_runtime.so and then with TVM's libtvm_runtime.so (or libtvm.so): in that order TVM is
 * initialised first. No header of TVM is needed. Programs that use TVM's own C++ API can instead call its global
 * function TVM_COEXEC_CREATE, with the loaded module and the devices; it returns TVM's own graph executor.
 *
 * Functions return 0 (or a pointer) if they succeed, and nonzero (or null) if they fail; tvm_coexec_error then returns
 * the reason, one sentence. A module may be used by one thread at a time.
 */
#ifndef TVM_COEXEC_H_
#define TVM_COEXEC_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TVM_COEXEC_CREATE "tvm_coexec.create"

typedef struct tvm_coexec_module tvm_coexec_module;

/* An input or output. `shape` and `name` stay valid as long as the module; the name of an output is null. */
typedef struct {
  const char* name;
  int ndim;
  const int64_t* shape;
  uint8_t type_code; /* DLPack: 0 signed integer, 1 unsigned integer or bool, 2 float */
  uint8_t bits;      /* of one element */
  size_t bytes;      /* of the whole tensor: each element takes its bits, rounded up to whole bytes */
} tvm_coexec_tensor;

/* Registers the OpenCL runtime with TVM, which loading the library does, too. Returns null, or why it failed. */
const char* tvm_coexec_runtime_register(void);

/* The reason of this thread's last failure; valid until its next one. */
const char* tvm_coexec_error(void);

/* Loads a library that was exported by export_library and creates its executor on the CPU and on device `gpu` of
 * OpenCL, in the order of TVM_COEXEC_OPENCL_DEVICES. A library built for the CPU alone needs no GPU; one built for a
 * GPU alone does not name its device, and cannot be opened here. */
tvm_coexec_module* tvm_coexec_open(const char* path, int gpu);
/* The same for a library built with adaptive=True: each run uses what is fastest now of the plan and each device alone.
 * The module runs each of them a few times first. tvm_coexec_stats returns what it has decided, as JSON that stays
 * valid until the next call. */
tvm_coexec_module* tvm_coexec_open_adaptive(const char* path, int gpu);
const char* tvm_coexec_stats(tvm_coexec_module* module);
void tvm_coexec_close(tvm_coexec_module* module); /* null is allowed */

/* Inputs do not include the model's weights. */
int tvm_coexec_num_inputs(const tvm_coexec_module* module);
int tvm_coexec_num_outputs(const tvm_coexec_module* module);
int tvm_coexec_input(const tvm_coexec_module* module, int index, tvm_coexec_tensor* tensor);
int tvm_coexec_output(const tvm_coexec_module* module, int index, tvm_coexec_tensor* tensor);

/* Copies. `bytes` must be the tensor's. */
int tvm_coexec_set_input(tvm_coexec_module* module, int index, const void* data, size_t bytes);
int tvm_coexec_get_output(tvm_coexec_module* module, int index, void* data, size_t bytes);

/* Runs the model once and returns when its outputs are complete. */
int tvm_coexec_run(tvm_coexec_module* module);

#ifdef __cplusplus
}
#endif

#endif  /* TVM_COEXEC_H_ */
