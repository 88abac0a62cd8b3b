/*
A libamdhip64.so for machines with a CUDA driver and no ROCm: the HIP runtime functions that
hip/driver/ calls, each over the CUDA driver's function of the same meaning.

HIP was modelled on CUDA, so most arguments go through as they are: streams, events, graphs, modules
and functions are the CUDA driver's own handles, and the error numbers of the two agree. The odd
things are the few that differ: contexts (HIP has none; every call makes the device's primary one
current, which PyTorch and CuPy use as well), the end marker of a launch's `extra`, and shared memory
above 48 KB, which CUDA wants to be asked for and HIP gives.

libcuda.so.1 is opened at run time, so this compiles with any C++17 compiler and no CUDA header.
*/

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "hip_interface.h"

namespace {

using CUdevice = int;
using CUcontext = void*;
using CUstream = void*;
using CUdeviceptr = unsigned long long;

// CUdevice_attribute and CUfunction_attribute, as cuda.h numbers them.
enum Attribute {
  MAX_THREADS_PER_BLOCK = 1,
  MAX_BLOCK_DIM_X = 2,
  MAX_GRID_DIM_X = 5,
  MAX_SHARED_MEMORY_PER_BLOCK = 8,
  TOTAL_CONSTANT_MEMORY = 9,
  WARP_SIZE = 10,
  MAX_REGISTERS_PER_BLOCK = 12,
  CLOCK_RATE = 13,
  MULTIPROCESSOR_COUNT = 16,
  INTEGRATED = 18,
  CONCURRENT_KERNELS = 31,
  ECC_ENABLED = 32,
  PCI_BUS_ID = 33,
  PCI_DEVICE_ID = 34,
  MEMORY_CLOCK_RATE = 36,
  MEMORY_BUS_WIDTH = 37,
  L2_CACHE_SIZE = 38,
  MAX_THREADS_PER_MULTIPROCESSOR = 39,
  ASYNC_ENGINE_COUNT = 40,
  UNIFIED_ADDRESSING = 41,
  PCI_DOMAIN_ID = 50,
  COMPUTE_CAPABILITY_MAJOR = 75,
  COMPUTE_CAPABILITY_MINOR = 76,
  MAX_SHARED_MEMORY_PER_MULTIPROCESSOR = 81,
  MAX_REGISTERS_PER_MULTIPROCESSOR = 82,
  COOPERATIVE_LAUNCH = 95,
  MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
};
constexpr int FUNCTION_SHARED_SIZE = 1;
constexpr int FUNCTION_MAX_DYNAMIC_SHARED_SIZE = 8;
constexpr int FUNCTION_PREFERRED_CARVEOUT = 9;
constexpr void* CUDA_END = nullptr;  // CU_LAUNCH_PARAM_END; the two markers before it are HIP's

constexpr int MAX_DEVICES = 64;

// The CUDA driver's functions. The version in a symbol's name is part of the interface.
#define FUNCTIONS(X)                                                                             \
  X(cuInit, "cuInit", (unsigned))                                                                \
  X(cuDriverGetVersion, "cuDriverGetVersion", (int*))                                            \
  X(cuDeviceGetCount, "cuDeviceGetCount", (int*))                                                \
  X(cuDeviceGet, "cuDeviceGet", (CUdevice*, int))                                                \
  X(cuDeviceGetName, "cuDeviceGetName", (char*, int, CUdevice))                                  \
  X(cuDeviceTotalMem, "cuDeviceTotalMem_v2", (size_t*, CUdevice))                                \
  X(cuDeviceGetAttribute, "cuDeviceGetAttribute", (int*, int, CUdevice))                         \
  X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CUcontext*, CUdevice))                \
  X(cuCtxGetCurrent, "cuCtxGetCurrent", (CUcontext*))                                            \
  X(cuCtxSetCurrent, "cuCtxSetCurrent", (CUcontext))                                             \
  X(cuCtxSynchronize, "cuCtxSynchronize", ())                                                    \
  X(cuMemGetInfo, "cuMemGetInfo_v2", (size_t*, size_t*))                                         \
  X(cuMemAlloc, "cuMemAlloc_v2", (CUdeviceptr*, size_t))                                         \
  X(cuMemFree, "cuMemFree_v2", (CUdeviceptr))                                                    \
  X(cuMemAllocHost, "cuMemAllocHost_v2", (void**, size_t))                                       \
  X(cuMemFreeHost, "cuMemFreeHost", (void*))                                                     \
  X(cuMemcpyAsync, "cuMemcpyAsync", (CUdeviceptr, CUdeviceptr, size_t, CUstream))                \
  X(cuMemsetD8Async, "cuMemsetD8Async", (CUdeviceptr, unsigned char, size_t, CUstream))          \
  X(cuStreamCreate, "cuStreamCreate", (CUstream*, unsigned))                                     \
  X(cuStreamDestroy, "cuStreamDestroy_v2", (CUstream))                                           \
  X(cuStreamSynchronize, "cuStreamSynchronize", (CUstream))                                      \
  X(cuStreamWaitEvent, "cuStreamWaitEvent", (CUstream, void*, unsigned))                         \
  X(cuStreamGetCtx, "cuStreamGetCtx", (CUstream, CUcontext*))                                    \
  X(cuStreamBeginCapture, "cuStreamBeginCapture_v2", (CUstream, int))                            \
  X(cuStreamEndCapture, "cuStreamEndCapture", (CUstream, void**))                                \
  X(cuGraphInstantiate, "cuGraphInstantiateWithFlags", (void**, void*, unsigned long long))      \
  X(cuGraphLaunch, "cuGraphLaunch", (void*, CUstream))                                           \
  X(cuGraphDestroy, "cuGraphDestroy", (void*))                                                   \
  X(cuGraphExecDestroy, "cuGraphExecDestroy", (void*))                                           \
  X(cuEventCreate, "cuEventCreate", (void**, unsigned))                                          \
  X(cuEventDestroy, "cuEventDestroy_v2", (void*))                                                \
  X(cuEventRecord, "cuEventRecord", (void*, CUstream))                                           \
  X(cuEventSynchronize, "cuEventSynchronize", (void*))                                           \
  X(cuEventElapsedTime, "cuEventElapsedTime", (float*, void*, void*))                            \
  X(cuModuleLoadData, "cuModuleLoadData", (void**, const void*))                                 \
  X(cuModuleUnload, "cuModuleUnload", (void*))                                                   \
  X(cuModuleGetFunction, "cuModuleGetFunction", (void**, void*, const char*))                    \
  X(cuFuncGetAttribute, "cuFuncGetAttribute", (int*, int, void*))                                \
  X(cuFuncSetAttribute, "cuFuncSetAttribute", (void*, int, int))                                 \
  X(cuLaunchKernel, "cuLaunchKernel",                                                            \
    (void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,      \
     void**, void**))

#define DECLARE(name, symbol, parameters) int(*name) parameters = nullptr;
FUNCTIONS(DECLARE)

// CUlaunchAttribute and CUlaunchConfig of cuda.h.
struct LaunchAttribute {
  int id;
  int padding;
  union {
    char bytes[64];
    int allowed;
  };
};
struct LaunchConfig {
  unsigned grid[3], block[3], shared;
  CUstream stream;
  LaunchAttribute* attributes;
  unsigned count;
};
constexpr int PROGRAMMATIC_STREAM_SERIALIZATION = 6;
constexpr int OVERLAPPED_CARVEOUT = 50;  // percent of the cache that are shared memory
int (*cuLaunchKernelEx)(const LaunchConfig*, void*, void**, void**) = nullptr;

// CUtensorMapDataType and the other enumerations of a tensor map, as cuda.h numbers them.
constexpr int TENSOR_FLOAT16 = 6, TENSOR_BFLOAT16 = 9;
constexpr int TENSOR_NO_INTERLEAVE = 0, TENSOR_SWIZZLE_128 = 3, TENSOR_L2_128 = 2, TENSOR_ZEROS = 0;
int (*cuTensorMapEncodeTiled)(void*, int, unsigned, void*, const unsigned long long*,
                              const unsigned long long*, const unsigned*, const unsigned*, int, int,
                              int, int) = nullptr;

std::once_flag started;
hipError_t start_status = hipSuccess;
int device_count = 0;
CUdevice devices[MAX_DEVICES];
CUcontext contexts[MAX_DEVICES];  // primary contexts, taken when first used and never given back
std::mutex contexts_mutex;
thread_local int current_device = 0;

// CUDA's error number as one that HIP has. They agree but for CUDA's younger ones.
hipError_t as_hip(int error) {
  switch (error) {
    case 34:   // stub library
    case 35:   // insufficient driver
    case 803:  // driver and device do not match
      return hipErrorInsufficientDriver;
    case 218:  // invalid PTX
    case 222:  // PTX newer than the driver
      return hipErrorNoBinaryForGpu;
    case 715:  // illegal instruction
    case 717:  // invalid address space
    case 718:  // invalid program counter
      return hipErrorLaunchFailure;
    case 716:  // misaligned address
      return hipErrorIllegalAddress;
    default:
      break;
  }
  static constexpr int shared[] = {0,   1,   2,   3,   4,   5,   100, 101, 200, 201, 205, 206, 207,
                                   208, 209, 210, 211, 214, 215, 216, 217, 300, 301, 302, 303, 304,
                                   400, 401, 500, 600, 700, 701, 702, 704, 705, 708, 709, 710, 712,
                                   713, 719, 720, 801, 900, 901, 902, 903, 904, 905, 906, 907, 908,
                                   909, 910};
  for (int number : shared) {
    if (number == error) return error;
  }
  return hipErrorUnknown;
}

hipError_t open_driver() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return hipErrorInsufficientDriver;
  bool complete = true;
#define RESOLVE(name, symbol, parameters)                                   \
  name = reinterpret_cast<int(*) parameters>(dlsym(library, symbol)); \
  complete = complete && name != nullptr;
  FUNCTIONS(RESOLVE)
  if (!complete) return hipErrorInsufficientDriver;
  int error = cuInit(0);
  if (error == 0) error = cuDeviceGetCount(&device_count);
  if (error != 0) return as_hip(error);
  if (device_count > MAX_DEVICES) device_count = MAX_DEVICES;
  for (int i = 0; i < device_count; i++) {
    if ((error = cuDeviceGet(&devices[i], i)) != 0) return as_hip(error);
  }
  // Not in drivers before CUDA 11.8; without it launches do not overlap.
  cuLaunchKernelEx = reinterpret_cast<decltype(cuLaunchKernelEx)>(dlsym(library, "cuLaunchKernelEx"));
  // Not in drivers before CUDA 12.0; without it the products of linear.hip are taken.
  cuTensorMapEncodeTiled = reinterpret_cast<decltype(cuTensorMapEncodeTiled)>(
      dlsym(library, "cuTensorMapEncodeTiled"));
  return device_count == 0 ? hipErrorNoDevice : hipSuccess;
}

hipError_t start() {
  std::call_once(started, [] { start_status = open_driver(); });
  return start_status;
}

// Make the primary context of a device current on this thread, where it is not yet.
hipError_t enter(int device) {
  hipError_t status = start();
  if (status != hipSuccess) return status;
  if (device < 0 || device >= device_count) return hipErrorInvalidDevice;
  {
    std::lock_guard<std::mutex> lock(contexts_mutex);
    if (contexts[device] == nullptr) {
      status = as_hip(cuDevicePrimaryCtxRetain(&contexts[device], devices[device]));
      if (status != hipSuccess) return status;
    }
  }
  CUcontext now = nullptr;
  if (cuCtxGetCurrent(&now) == 0 && now == contexts[device]) return hipSuccess;
  return as_hip(cuCtxSetCurrent(contexts[device]));
}

hipError_t enter() { return enter(current_device); }

// In HIP a stream's work goes to the stream's device, whichever is current.
hipError_t enter_of(CUstream stream) {
  const hipError_t status = enter();
  if (status != hipSuccess || device_count == 1 || stream == nullptr) return status;
  CUcontext context = nullptr;
  const int error = cuStreamGetCtx(stream, &context);
  return as_hip(error != 0 ? error : cuCtxSetCurrent(context));
}

// Enter, then call: the shape of nearly every function below.
template <typename Function, typename... Arguments>
hipError_t forward(Function function, Arguments... arguments) {
  const hipError_t status = enter();
  return status != hipSuccess ? status : as_hip(function(arguments...));
}

template <typename Function, typename... Arguments>
hipError_t forward_on(CUstream stream, Function function, Arguments... arguments) {
  const hipError_t status = enter_of(stream);
  return status != hipSuccess ? status : as_hip(function(arguments...));
}

CUdeviceptr address(const void* pointer) { return reinterpret_cast<CUdeviceptr>(pointer); }

}  // namespace

// --- devices ---------------------------------------------------------------------------------

EXPORT hipError_t hipGetDeviceCount(int* count) {
  *count = 0;
  const hipError_t status = start();
  if (status == hipSuccess) *count = device_count;
  return status;
}

EXPORT hipError_t hipSetDevice(int device) {
  const hipError_t status = enter(device);
  if (status == hipSuccess) current_device = device;
  return status;
}

EXPORT hipError_t hipGetDevice(int* device) {
  *device = current_device;
  return start();
}

EXPORT hipError_t hipDriverGetVersion(int* version) {
  const hipError_t status = start();
  return status != hipSuccess ? status : as_hip(cuDriverGetVersion(version));
}

EXPORT hipError_t hipRuntimeGetVersion(int* version) { return hipDriverGetVersion(version); }

EXPORT hipError_t hipGetDevicePropertiesR0600(hipDeviceProp_tR0600* properties, int index) {
  hipError_t status = start();
  if (status != hipSuccess) return status;
  if (index < 0 || index >= device_count) return hipErrorInvalidDevice;
  const CUdevice device = devices[index];
  std::memset(properties, 0, sizeof(*properties));
  int error = cuDeviceGetName(properties->name, sizeof(properties->name), device);
  if (error == 0) error = cuDeviceTotalMem(&properties->totalGlobalMem, device);
  if (error != 0) return as_hip(error);
  const auto attribute = [device](int which) {
    int value = 0;
    return cuDeviceGetAttribute(&value, which, device) == 0 ? value : 0;
  };
  properties->sharedMemPerBlock = attribute(MAX_SHARED_MEMORY_PER_BLOCK);
  properties->regsPerBlock = attribute(MAX_REGISTERS_PER_BLOCK);
  properties->warpSize = attribute(WARP_SIZE);
  properties->maxThreadsPerBlock = attribute(MAX_THREADS_PER_BLOCK);
  for (int i = 0; i < 3; i++) {
    properties->maxThreadsDim[i] = attribute(MAX_BLOCK_DIM_X + i);
    properties->maxGridSize[i] = attribute(MAX_GRID_DIM_X + i);
  }
  properties->clockRate = attribute(CLOCK_RATE);
  properties->totalConstMem = attribute(TOTAL_CONSTANT_MEMORY);
  properties->major = attribute(COMPUTE_CAPABILITY_MAJOR);
  properties->minor = attribute(COMPUTE_CAPABILITY_MINOR);
  properties->multiProcessorCount = attribute(MULTIPROCESSOR_COUNT);
  properties->integrated = attribute(INTEGRATED);
  properties->concurrentKernels = attribute(CONCURRENT_KERNELS);
  properties->ECCEnabled = attribute(ECC_ENABLED);
  properties->pciBusID = attribute(PCI_BUS_ID);
  properties->pciDeviceID = attribute(PCI_DEVICE_ID);
  properties->pciDomainID = attribute(PCI_DOMAIN_ID);
  properties->asyncEngineCount = attribute(ASYNC_ENGINE_COUNT);
  properties->unifiedAddressing = attribute(UNIFIED_ADDRESSING);
  properties->memoryClockRate = attribute(MEMORY_CLOCK_RATE);
  properties->memoryBusWidth = attribute(MEMORY_BUS_WIDTH);
  properties->l2CacheSize = attribute(L2_CACHE_SIZE);
  properties->maxThreadsPerMultiProcessor = attribute(MAX_THREADS_PER_MULTIPROCESSOR);
  properties->sharedMemPerMultiprocessor = attribute(MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
  properties->maxSharedMemoryPerMultiProcessor = properties->sharedMemPerMultiprocessor;
  properties->regsPerMultiprocessor = attribute(MAX_REGISTERS_PER_MULTIPROCESSOR);
  properties->cooperativeLaunch = attribute(COOPERATIVE_LAUNCH);
  properties->sharedMemPerBlockOptin = attribute(MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  std::snprintf(properties->gcnArchName, sizeof(properties->gcnArchName), "sm_%d",
                properties->major * 10 + properties->minor);
  return hipSuccess;
}

EXPORT hipError_t hipDeviceSynchronize() { return forward(cuCtxSynchronize); }

// --- memory ----------------------------------------------------------------------------------

EXPORT hipError_t hipMemGetInfo(size_t* free, size_t* total) {
  return forward(cuMemGetInfo, free, total);
}

EXPORT hipError_t hipMalloc(void** pointer, size_t bytes) {
  *pointer = nullptr;
  if (bytes == 0) return hipSuccess;  // as HIP has it; CUDA calls this an error
  return forward(cuMemAlloc, reinterpret_cast<CUdeviceptr*>(pointer), bytes);
}

EXPORT hipError_t hipFree(void* pointer) {
  return pointer == nullptr ? hipSuccess : forward(cuMemFree, address(pointer));
}

EXPORT hipError_t hipHostMalloc(void** pointer, size_t bytes, unsigned) {
  return forward(cuMemAllocHost, pointer, bytes);
}

EXPORT hipError_t hipHostFree(void* pointer) {
  return pointer == nullptr ? hipSuccess : forward(cuMemFreeHost, pointer);
}

// The kind of the copy follows from the addresses, which are unique over host and devices.
EXPORT hipError_t hipMemcpyAsync(void* destination, const void* source, size_t bytes, int,
                                 CUstream stream) {
  return forward_on(stream, cuMemcpyAsync, address(destination), address(source), bytes, stream);
}

EXPORT hipError_t hipMemcpy(void* destination, const void* source, size_t bytes, int kind) {
  const hipError_t status = hipMemcpyAsync(destination, source, bytes, kind, nullptr);
  return status != hipSuccess ? status : as_hip(cuStreamSynchronize(nullptr));
}

EXPORT hipError_t hipMemsetAsync(void* destination, int value, size_t bytes, CUstream stream) {
  return forward_on(stream, cuMemsetD8Async, address(destination),
                    static_cast<unsigned char>(value), bytes, stream);
}

// --- streams, events, graphs -----------------------------------------------------------------

EXPORT hipError_t hipStreamCreateWithFlags(CUstream* stream, unsigned flags) {
  return forward(cuStreamCreate, stream, flags);
}

EXPORT hipError_t hipStreamDestroy(CUstream stream) { return forward(cuStreamDestroy, stream); }

EXPORT hipError_t hipStreamSynchronize(CUstream stream) {
  return forward_on(stream, cuStreamSynchronize, stream);
}

EXPORT hipError_t hipStreamWaitEvent(CUstream stream, void* event, unsigned flags) {
  return forward_on(stream, cuStreamWaitEvent, stream, event, flags);
}

EXPORT hipError_t hipStreamBeginCapture(CUstream stream, int mode) {
  return forward_on(stream, cuStreamBeginCapture, stream, mode);
}

EXPORT hipError_t hipStreamEndCapture(CUstream stream, void** graph) {
  return forward_on(stream, cuStreamEndCapture, stream, graph);
}

EXPORT hipError_t hipGraphInstantiateWithFlags(void** executable, void* graph,
                                               unsigned long long flags) {
  return forward(cuGraphInstantiate, executable, graph, flags);
}

EXPORT hipError_t hipGraphLaunch(void* executable, CUstream stream) {
  return forward_on(stream, cuGraphLaunch, executable, stream);
}

EXPORT hipError_t hipGraphDestroy(void* graph) { return forward(cuGraphDestroy, graph); }

EXPORT hipError_t hipGraphExecDestroy(void* executable) {
  return forward(cuGraphExecDestroy, executable);
}

EXPORT hipError_t hipEventCreateWithFlags(void** event, unsigned flags) {
  return forward(cuEventCreate, event, flags);
}

EXPORT hipError_t hipEventDestroy(void* event) { return forward(cuEventDestroy, event); }

EXPORT hipError_t hipEventRecord(void* event, CUstream stream) {
  return forward_on(stream, cuEventRecord, event, stream);
}

EXPORT hipError_t hipEventSynchronize(void* event) { return forward(cuEventSynchronize, event); }

EXPORT hipError_t hipEventElapsedTime(float* milliseconds, void* first, void* last) {
  return forward(cuEventElapsedTime, milliseconds, first, last);
}

// --- modules and launches --------------------------------------------------------------------

EXPORT hipError_t hipModuleLoadData(void** module, const void* image) {
  return forward(cuModuleLoadData, module, image);
}

EXPORT hipError_t hipModuleUnload(void* module) { return forward(cuModuleUnload, module); }

EXPORT hipError_t hipModuleGetFunction(void** function, void* module, const char* name) {
  const hipError_t status = forward(cuModuleGetFunction, function, module, name);
  if (status != hipSuccess) return status;
  // HIP gives a block all the LDS there is; CUDA wants to hear of anything above 48 KB first.
  int fixed = 0;
  int limit = 0;
  CUcontext context = nullptr;
  int device = current_device;
  if (cuCtxGetCurrent(&context) == 0) {
    for (int i = 0; i < device_count; i++) {
      if (contexts[i] == context) device = i;
    }
  }
  cuFuncGetAttribute(&fixed, FUNCTION_SHARED_SIZE, *function);
  cuDeviceGetAttribute(&limit, MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, devices[device]);
  if (limit > fixed) {
    cuFuncSetAttribute(*function, FUNCTION_MAX_DYNAMIC_SHARED_SIZE, limit - fixed);
  }
  return hipSuccess;
}

// The words of HIP's `extra` as CUDA wants them; false where they are no such words.
static bool as_cuda(void** extra, void* (&words)[5]) {
  if (reinterpret_cast<size_t>(extra[0]) != HIP_BUFFER_POINTER ||
      reinterpret_cast<size_t>(extra[2]) != HIP_BUFFER_SIZE ||
      reinterpret_cast<size_t>(extra[4]) != HIP_END) {
    return false;
  }
  std::memcpy(words, extra, sizeof(words));
  words[4] = CUDA_END;
  return true;
}

EXPORT hipError_t hipModuleLaunchKernel(void* function, unsigned grid_x, unsigned grid_y,
                                        unsigned grid_z, unsigned block_x, unsigned block_y,
                                        unsigned block_z, unsigned shared, CUstream stream,
                                        void** parameters, void** extra) {
  void* words[5];
  if (extra != nullptr && !as_cuda(extra, words)) return hipErrorInvalidValue;
  return forward_on(stream, cuLaunchKernel, function, grid_x, grid_y, grid_z, block_x, block_y,
                    block_z, shared, stream, parameters, extra != nullptr ? words : nullptr);
}

// Not HIP's: the kernel may begin before the one before it in the stream has ended (overlap.h). Only for
// kernels that call await_previous.
EXPORT hipError_t hipgptLaunchOverlapped(void* function, unsigned grid_x, unsigned grid_y,
                                         unsigned grid_z, unsigned threads, unsigned shared,
                                         CUstream stream, void** extra) {
  if (start() == hipSuccess && cuLaunchKernelEx == nullptr) {
    return hipModuleLaunchKernel(function, grid_x, grid_y, grid_z, threads, 1, 1, shared, stream,
                                 nullptr, extra);
  }
  void* words[5];
  if (!as_cuda(extra, words)) return hipErrorInvalidValue;
  // Kernels share a multiprocessor only if they agree on how it divides its cache.
  cuFuncSetAttribute(function, FUNCTION_PREFERRED_CARVEOUT, OVERLAPPED_CARVEOUT);
  LaunchAttribute attribute = {};
  attribute.id = PROGRAMMATIC_STREAM_SERIALIZATION;
  attribute.allowed = 1;
  const LaunchConfig config = {{grid_x, grid_y, grid_z}, {threads, 1, 1}, shared, stream,
                               &attribute, 1};
  return forward_on(stream, cuLaunchKernelEx, &config, function, nullptr, words);
}

// Not HIP's: 128 bytes that describe a matrix of 16-bit elements, with rows one after another, to the
// copy engine of Hopper (tma.h): it moves boxes of 64 columns, swizzled, with zeros outside.
EXPORT hipError_t hipgptTensorMap(void* map, const void* address, int bfloat16,
                                  unsigned long long rows, unsigned long long columns,
                                  unsigned box_rows) {
  hipError_t status = start();
  if (status != hipSuccess) return status;
  if (cuTensorMapEncodeTiled == nullptr) return hipErrorNotSupported;
  const unsigned long long sizes[2] = {columns, rows}, stride = columns * 2;
  const unsigned box[2] = {64, box_rows}, every[2] = {1, 1};
  return as_hip(cuTensorMapEncodeTiled(
      map, bfloat16 != 0 ? TENSOR_BFLOAT16 : TENSOR_FLOAT16, 2, const_cast<void*>(address), sizes,
      &stride, box, every, TENSOR_NO_INTERLEAVE, TENSOR_SWIZZLE_128, TENSOR_L2_128, TENSOR_ZEROS));
}

// --- errors ----------------------------------------------------------------------------------

EXPORT hipError_t hipGetLastError() { return hipSuccess; }

EXPORT const char* hipGetErrorName(hipError_t error) {
  return error == hipSuccess ? "hipSuccess" : "hipError";
}

EXPORT const char* hipGetErrorString(hipError_t error) {
  return error == hipSuccess ? "no error" : "an error of the CUDA driver";
}
