/* Stands in for CUDA's run-time compiler where there is none; see cuda.c. Every function reports a failure. */
enum { NVRTC_ERROR_INTERNAL_ERROR = 11 };

#define NO_COMPILER(name) \
  int name(void) { return NVRTC_ERROR_INTERNAL_ERROR; }

NO_COMPILER(nvrtcCompileProgram)
NO_COMPILER(nvrtcCreateProgram)
NO_COMPILER(nvrtcDestroyProgram)
NO_COMPILER(nvrtcGetPTX)
NO_COMPILER(nvrtcGetPTXSize)
NO_COMPILER(nvrtcGetProgramLog)
NO_COMPILER(nvrtcGetProgramLogSize)

const char* nvrtcGetErrorString(int error) {
  (void)error;
  return "no CUDA on this machine";
}
