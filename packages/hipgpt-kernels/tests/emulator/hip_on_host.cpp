/*
A libamdhip64.so without a GPU, for the tests: memory is the host's, everything happens at once, and
a launch calls back into Python, which executes the kernel in an emulator.

The odd thing: it is stricter than a GPU. New memory is full of NaNs, every allocation lies between
two guards that are looked at whenever somebody waits, and a captured stream refuses what a real one
refuses.
*/

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hip_interface.h"

namespace {

using LoadCallback = int64_t (*)(const void* image);
using FunctionCallback = int64_t (*)(int64_t module, const char* name);
using LaunchCallback = int (*)(int64_t function, unsigned gx, unsigned gy, unsigned gz,
                               unsigned threads, unsigned shared, const void* arguments,
                               size_t bytes);

LoadCallback on_load = nullptr;
FunctionCallback on_function = nullptr;
LaunchCallback on_launch = nullptr;

struct Architecture {
  std::string name = "gfx942";
  int wave = 64;
  int shared = 65536;
  int units = 2;  // few, so that few blocks have to be emulated
} architecture;

size_t memory_limit = size_t(4) << 30;
size_t memory_used = 0;

constexpr size_t GUARD = 256;  // also what an allocation is aligned to
constexpr unsigned char GUARD_BYTE = 0xA5;
constexpr unsigned char FRESH_BYTE = 0xFF;  // NaN in every floating type, −1 in the others
std::map<void*, size_t> allocations;        // address handed out -> bytes
std::map<void*, size_t> host_allocations;   // the same of the host's memory

bool intact(void* pointer, size_t bytes) {
  const auto* begin = static_cast<unsigned char*>(pointer);
  for (size_t i = 0; i < GUARD; i++) {
    if (begin[-1 - static_cast<ptrdiff_t>(i)] != GUARD_BYTE) return false;
    if (begin[bytes + i] != GUARD_BYTE) return false;
  }
  return true;
}

hipError_t check_guards() {
  for (const auto& [pointer, bytes] : allocations) {
    if (!intact(pointer, bytes)) return hipErrorIllegalAddress;
  }
  return hipSuccess;
}

bool lies_in(const std::map<void*, size_t>& known, void* pointer) {
  auto after = known.upper_bound(pointer);
  if (after == known.begin()) return false;
  const auto [begin, bytes] = *--after;
  return static_cast<char*>(pointer) <= static_cast<char*>(begin) + bytes;
}

struct Work {
  std::function<hipError_t()> run;
};

struct Graph {
  std::vector<Work> work;
};

struct Stream {
  std::unique_ptr<Graph> captured;  // set while capturing
};

struct Event {
  std::chrono::steady_clock::time_point when;
  bool recorded = false;
};

Stream default_stream;

Stream& as_stream(void* stream) {
  return stream == nullptr ? default_stream : *static_cast<Stream*>(stream);
}

// Now, or later when the graph is launched.
hipError_t submit(void* stream, std::function<hipError_t()> work) {
  Stream& target = as_stream(stream);
  if (target.captured) {
    target.captured->work.push_back({std::move(work)});
    return hipSuccess;
  }
  return work();
}

}  // namespace

EXPORT void emulator_start(LoadCallback load, FunctionCallback function, LaunchCallback launch,
                           const char* name, int wave, int shared) {
  on_load = load;
  on_function = function;
  on_launch = launch;
  architecture.name = name;
  architecture.wave = wave;
  architecture.shared = shared;
}

// May a kernel be given this address? The end of an allocation is one too: that of an empty array.
EXPORT int emulator_knows(void* pointer) {
  return lies_in(allocations, pointer) || lies_in(host_allocations, pointer);
}

EXPORT hipError_t hipGetDeviceCount(int* count) {
  *count = 1;
  return hipSuccess;
}

EXPORT hipError_t hipSetDevice(int device) {
  return device == 0 ? hipSuccess : hipErrorInvalidDevice;
}

EXPORT hipError_t hipRuntimeGetVersion(int* version) {
  *version = 60000000;
  return hipSuccess;
}

EXPORT hipError_t hipGetDevicePropertiesR0600(hipDeviceProp_tR0600* properties, int device) {
  if (device != 0) return hipErrorInvalidDevice;
  std::memset(properties, 0, sizeof(*properties));
  std::snprintf(properties->name, sizeof(properties->name), "emulated %s",
                architecture.name.c_str());
  std::snprintf(properties->gcnArchName, sizeof(properties->gcnArchName), "%s",
                architecture.name.c_str());
  properties->warpSize = architecture.wave;
  properties->multiProcessorCount = architecture.units;
  properties->sharedMemPerBlock = architecture.shared;
  properties->totalGlobalMem = memory_limit;
  properties->l2CacheSize = 4 << 20;
  properties->maxThreadsPerBlock = 1024;
  return hipSuccess;
}

EXPORT hipError_t hipDeviceSynchronize() { return check_guards(); }

EXPORT hipError_t hipMemGetInfo(size_t* free, size_t* total) {
  *free = memory_limit - memory_used;
  *total = memory_limit;
  return hipSuccess;
}

EXPORT hipError_t hipMalloc(void** pointer, size_t bytes) {
  if (bytes > memory_limit - memory_used) return hipErrorOutOfMemory;
  const size_t size = (bytes + 2 * GUARD + GUARD - 1) / GUARD * GUARD;
  auto* base = static_cast<unsigned char*>(std::aligned_alloc(GUARD, size));
  if (base == nullptr) return hipErrorOutOfMemory;
  std::memset(base, GUARD_BYTE, size);
  std::memset(base + GUARD, FRESH_BYTE, bytes);
  *pointer = base + GUARD;
  allocations[*pointer] = bytes;
  memory_used += bytes;
  return hipSuccess;
}

EXPORT hipError_t hipFree(void* pointer) {
  const auto found = allocations.find(pointer);
  if (found == allocations.end()) return hipErrorInvalidValue;
  const hipError_t status = intact(pointer, found->second) ? hipSuccess : hipErrorIllegalAddress;
  memory_used -= found->second;
  allocations.erase(found);
  std::free(static_cast<unsigned char*>(pointer) - GUARD);
  return status;
}

EXPORT hipError_t hipHostMalloc(void** pointer, size_t bytes, unsigned) {
  *pointer = std::malloc(bytes);
  if (*pointer == nullptr) return hipErrorOutOfMemory;
  host_allocations[*pointer] = bytes;
  return hipSuccess;
}

EXPORT hipError_t hipHostFree(void* pointer) {
  host_allocations.erase(pointer);
  std::free(pointer);
  return hipSuccess;
}

EXPORT hipError_t hipMemcpyAsync(void* destination, const void* source, size_t bytes, int,
                                 void* stream) {
  return submit(stream, [=] {
    std::memcpy(destination, source, bytes);
    return hipSuccess;
  });
}

EXPORT hipError_t hipMemsetAsync(void* destination, int value, size_t bytes, void* stream) {
  return submit(stream, [=] {
    std::memset(destination, value, bytes);
    return hipSuccess;
  });
}

EXPORT hipError_t hipStreamCreateWithFlags(void** stream, unsigned) {
  *stream = new Stream();
  return hipSuccess;
}

EXPORT hipError_t hipStreamDestroy(void* stream) {
  delete static_cast<Stream*>(stream);
  return hipSuccess;
}

EXPORT hipError_t hipStreamSynchronize(void* stream) {
  if (as_stream(stream).captured) return hipErrorStreamCaptureUnsupported;
  return check_guards();
}

EXPORT hipError_t hipStreamWaitEvent(void*, void*, unsigned) { return hipSuccess; }

EXPORT hipError_t hipStreamBeginCapture(void* stream, int) {
  if (stream == nullptr || as_stream(stream).captured) return hipErrorStreamCaptureUnsupported;
  as_stream(stream).captured = std::make_unique<Graph>();
  return hipSuccess;
}

EXPORT hipError_t hipStreamEndCapture(void* stream, void** graph) {
  if (!as_stream(stream).captured) return hipErrorInvalidValue;
  *graph = as_stream(stream).captured.release();
  return hipSuccess;
}

EXPORT hipError_t hipGraphInstantiateWithFlags(void** executable, void* graph,
                                               unsigned long long) {
  *executable = new Graph(*static_cast<Graph*>(graph));
  return hipSuccess;
}

EXPORT hipError_t hipGraphLaunch(void* executable, void*) {
  for (const Work& work : static_cast<Graph*>(executable)->work) {
    const hipError_t status = work.run();
    if (status != hipSuccess) return status;
  }
  return hipSuccess;
}

EXPORT hipError_t hipGraphDestroy(void* graph) {
  delete static_cast<Graph*>(graph);
  return hipSuccess;
}

EXPORT hipError_t hipGraphExecDestroy(void* executable) { return hipGraphDestroy(executable); }

EXPORT hipError_t hipEventCreateWithFlags(void** event, unsigned) {
  *event = new Event();
  return hipSuccess;
}

EXPORT hipError_t hipEventDestroy(void* event) {
  delete static_cast<Event*>(event);
  return hipSuccess;
}

EXPORT hipError_t hipEventRecord(void* event, void*) {
  static_cast<Event*>(event)->when = std::chrono::steady_clock::now();
  static_cast<Event*>(event)->recorded = true;
  return hipSuccess;
}

EXPORT hipError_t hipEventSynchronize(void*) { return check_guards(); }

EXPORT hipError_t hipEventElapsedTime(float* milliseconds, void* first, void* last) {
  const auto& a = *static_cast<Event*>(first);
  const auto& b = *static_cast<Event*>(last);
  if (!a.recorded || !b.recorded) return hipErrorInvalidHandle;
  *milliseconds = std::chrono::duration<float, std::milli>(b.when - a.when).count();
  return hipSuccess;
}

EXPORT hipError_t hipModuleLoadData(void** module, const void* image) {
  const int64_t number = on_load(image);
  if (number <= 0) return hipErrorInvalidImage;
  *module = reinterpret_cast<void*>(number);
  return hipSuccess;
}

EXPORT hipError_t hipModuleUnload(void*) { return hipSuccess; }

EXPORT hipError_t hipModuleGetFunction(void** function, void* module, const char* name) {
  const int64_t number = on_function(reinterpret_cast<int64_t>(module), name);
  if (number <= 0) return hipErrorNotFound;
  *function = reinterpret_cast<void*>(number);
  return hipSuccess;
}

EXPORT hipError_t hipModuleLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz,
                                        unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                        void* stream, void** parameters, void** extra) {
  if (parameters != nullptr || extra == nullptr || by != 1 || bz != 1 || gx == 0 || gy == 0 ||
      gz == 0 || reinterpret_cast<size_t>(extra[0]) != HIP_BUFFER_POINTER ||
      reinterpret_cast<size_t>(extra[2]) != HIP_BUFFER_SIZE ||
      reinterpret_cast<size_t>(extra[4]) != HIP_END) {
    return hipErrorInvalidValue;
  }
  const auto* begin = static_cast<const unsigned char*>(extra[1]);
  std::vector<unsigned char> arguments(begin, begin + *static_cast<size_t*>(extra[3]));
  return submit(stream, [=] {
    return on_launch(reinterpret_cast<int64_t>(function), gx, gy, gz, bx, shared,
                     arguments.data(), arguments.size());
  });
}
