/* Stands in for the CUDA driver library where there is none: the prebuilt TVM is linked against it and could not be loaded.
 * Every function reports CUDA_ERROR_NO_DEVICE. The names are those that `nm -D --undefined-only libtvm.so` lists. */
enum { CUDA_ERROR_NO_DEVICE = 100 };

#define NO_DEVICE(name) \
  int name(void) { return CUDA_ERROR_NO_DEVICE; }

NO_DEVICE(cuDeviceGetName)
NO_DEVICE(cuFuncSetAttribute)
NO_DEVICE(cuLaunchKernel)
NO_DEVICE(cuMemsetD32_v2)
NO_DEVICE(cuModuleGetFunction)
NO_DEVICE(cuModuleGetGlobal_v2)
NO_DEVICE(cuModuleLoadData)
NO_DEVICE(cuModuleUnload)

int cuGetErrorName(int error, const char** name) {
  (void)error;
  *name = "CUDA_ERROR_NO_DEVICE";
  return 0;
}
