/* Stands in for the CUDA runtime library where there is none; see cuda.c. Every function reports
 * cudaErrorInsufficientDriver, which is what the real library says on a machine without a driver. */
enum { cudaErrorInsufficientDriver = 35 };

#define NO_DRIVER(name) \
  int name(void) { return cudaErrorInsufficientDriver; }

NO_DRIVER(cudaDeviceGetAttribute)
NO_DRIVER(cudaEventCreate)
NO_DRIVER(cudaEventDestroy)
NO_DRIVER(cudaEventElapsedTime)
NO_DRIVER(cudaEventRecord)
NO_DRIVER(cudaEventSynchronize)
NO_DRIVER(cudaFree)
NO_DRIVER(cudaFreeHost)
NO_DRIVER(cudaGetDevice)
NO_DRIVER(cudaGetDeviceCount)
NO_DRIVER(cudaGetDeviceProperties_v2)
NO_DRIVER(cudaGraphDestroy)
NO_DRIVER(cudaGraphExecDestroy)
NO_DRIVER(cudaGraphInstantiate)
NO_DRIVER(cudaGraphLaunch)
NO_DRIVER(cudaMalloc)
NO_DRIVER(cudaMallocHost)
NO_DRIVER(cudaMemGetInfo)
NO_DRIVER(cudaMemcpyAsync)
NO_DRIVER(cudaMemcpyPeerAsync)
NO_DRIVER(cudaMemsetAsync)
NO_DRIVER(cudaSetDevice)
NO_DRIVER(cudaStreamBeginCapture)
NO_DRIVER(cudaStreamCreate)
NO_DRIVER(cudaStreamCreateWithFlags)
NO_DRIVER(cudaStreamDestroy)
NO_DRIVER(cudaStreamEndCapture)
NO_DRIVER(cudaStreamSynchronize)
NO_DRIVER(cudaStreamWaitEvent)

const char* cudaGetErrorString(int error) {
  (void)error;
  return "no CUDA on this machine";
}
