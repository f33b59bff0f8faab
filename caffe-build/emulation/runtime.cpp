// Devices, device memory, copies, streams, events, errors and counts: the CUDA runtime without its launches.
#include "cuda_runtime_api.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <chrono>
#include <map>
#include <mutex>
#include <set>

#include "emulation.h"

struct EmulatedStream {};
struct EmulatedEvent {
  std::chrono::steady_clock::time_point time;
  bool recorded = false;
};

namespace emulation {

namespace {

struct Allocation {
  size_t bytes;
  int device;
};

// Never destroyed: other libraries free device memory while the process ends.
struct State {
  std::mutex mutex;
  std::map<uintptr_t, Allocation> allocations;  // by device pointer
  std::map<const void*, size_t> pinned;
  std::set<void*> streams, events;
  std::map<int, size_t> used;  // bytes, by device
  std::map<std::string, long> counts;
};

State& state() {
  static State* the = new State;
  return *the;
}

typedef std::lock_guard<std::mutex> Lock;
thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

size_t setting(const char* name, size_t otherwise) {
  const char* value = getenv(name);
  return value ? strtoull(value, nullptr, 10) : otherwise;
}

int devices() { return setting("STAL_EMULATED_GPUS", 1); }
size_t memory_of_a_device() { return setting("STAL_EMULATED_MEMORY", size_t(16) << 30); }

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

bool on_device(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) >> 48 == kDevice >> 48; }

/// The allocation that holds [pointer, pointer + bytes), or the end of one for 0 bytes; its base in *base.
const Allocation* find(const void* pointer, size_t bytes, uintptr_t* base = nullptr) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
  auto after = state().allocations.upper_bound(address);
  if (after == state().allocations.begin()) return nullptr;
  --after;
  if (base) *base = after->first;
  const size_t offset = address - after->first;
  return offset <= after->second.bytes && bytes <= after->second.bytes - offset ? &after->second : nullptr;
}

template <typename T>
T* untagged(T* pointer) {
  return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(pointer) - kDevice);
}

void write_counts() {
  FILE* file = fopen(getenv("STAL_EMULATION_COUNTS"), "w");
  if (!file) die("cannot write %s, which STAL_EMULATION_COUNTS names", getenv("STAL_EMULATION_COUNTS"));
  fprintf(file, "what,calls\n%s", emulation_counts());
  fclose(file);
}

const int written_at_exit = getenv("STAL_EMULATION_COUNTS") ? atexit(write_counts) : 0;

cudaError_t copy(const std::string& call, void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  static const char* const kNames[] = {"host-to-host", "host-to-device", "device-to-host", "device-to-device"};
  const int actual = 2 * on_device(from) + on_device(to);
  if (kind != cudaMemcpyDefault && kind != actual && bytes) return result(cudaErrorInvalidValue);
  count(call + " " + kNames[actual]);
  if (!bytes) return cudaSuccess;
  if (!to || !from) return result(cudaErrorInvalidValue);
  {
    Lock lock(state().mutex);
    if ((on_device(to) && !find(to, bytes)) || (on_device(from) && !find(from, bytes))) {
      return result(cudaErrorInvalidValue);
    }
  }
  memcpy(on_device(to) ? untagged(to) : to, on_device(from) ? untagged(from) : from, bytes);
  return cudaSuccess;
}

template <typename T>
cudaError_t destroy(std::set<void*>* live, T* object) {
  Lock lock(state().mutex);
  if (!live->erase(object)) return result(cudaErrorInvalidResourceHandle);
  delete object;
  return cudaSuccess;
}

template <typename T>
cudaError_t create(std::set<void*>* live, T** object) {
  Lock lock(state().mutex);
  *object = new T;
  live->insert(*object);
  return cudaSuccess;
}

}  // namespace

void die(const char* format, ...) {
  va_list values;
  va_start(values, format);
  fputs("emulation: ", stderr);
  vfprintf(stderr, format, values);
  fputs("\n", stderr);
  va_end(values);
  abort();
}

void count(const std::string& what) {
  Lock lock(state().mutex);
  ++state().counts[what];
}

void* real(const char* who, const char* what, const void* pointer, size_t bytes) {
  Lock lock(state().mutex);
  const Allocation* allocation = on_device(pointer) ? find(pointer, bytes) : nullptr;
  if (!allocation) {
    die("%s: %s is %s", who, what, !pointer ? "a null pointer" : !on_device(pointer) ? "a host pointer, not device memory" :
        find(pointer, 0) ? "too small: the call goes beyond the end of the device memory" :
        "no device memory (freed, or outside every allocation)");
  }
  if (allocation->device != current_device) {
    die("%s: %s lies on device %d, but the current one is %d", who, what, allocation->device, current_device);
  }
  return const_cast<void*>(untagged(pointer));
}

bool accept(const char* kernel, const Configuration& c) {
  const bool good = c.grid.x > 0 && c.grid.y > 0 && c.grid.z > 0 && c.grid.x <= 0x7fffffffu && c.grid.y <= 65535 &&
      c.grid.z <= 65535 && c.block.x > 0 && c.block.y > 0 && c.block.z > 0 && c.block.z <= 64 &&
      uint64_t(c.block.x) * c.block.y * c.block.z <= 1024 && c.shared <= 48 * 1024;
  if (!good || current_device >= devices()) {
    result(good ? cudaErrorNoDevice : cudaErrorInvalidConfiguration);
    return false;
  }
  count(kernel);
  return true;
}

}  // namespace emulation

using namespace emulation;  // NOLINT(build/namespaces)

void emulation_reset_counts() {
  Lock lock(state().mutex);
  state().counts.clear();
}

const char* emulation_counts() {
  static thread_local std::string text;
  Lock lock(state().mutex);
  text.clear();
  for (const auto& entry : state().counts) text += entry.first + "," + std::to_string(entry.second) + "\n";
  return text.c_str();
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = devices();
  return result(*count ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return result(devices() ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= devices()) return result(devices() ? cudaErrorInvalidDevice : cudaErrorNoDevice);
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= devices()) return result(cudaErrorInvalidDevice);
  *properties = cudaDeviceProp();
  strcpy(properties->name, "emulated on the CPU");  // NOLINT(runtime/printf)
  properties->totalGlobalMem = memory_of_a_device();
  properties->sharedMemPerBlock = 48 * 1024;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->memPitch = 0x7fffffff;
  properties->maxThreadsPerBlock = 1024;
  const int block[] = {1024, 1024, 64}, grid[] = {0x7fffffff, 65535, 65535};
  memcpy(properties->maxThreadsDim, block, sizeof(block));
  memcpy(properties->maxGridSize, grid, sizeof(grid));
  properties->totalConstMem = 65536;
  properties->major = 9;
  properties->textureAlignment = 512;
  properties->multiProcessorCount = 1;
  properties->unifiedAddressing = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = properties.maxThreadsPerBlock; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = properties.sharedMemPerBlock; return cudaSuccess;
    case cudaDevAttrWarpSize: *value = properties.warpSize; return cudaSuccess;
    case cudaDevAttrMultiProcessorCount: *value = properties.multiProcessorCount; return cudaSuccess;
    case cudaDevAttrClockRate: *value = 1000000; return cudaSuccess;  // kHz
    case cudaDevAttrGpuOverlap: *value = 0; return cudaSuccess;
    case cudaDevAttrKernelExecTimeout: *value = 0; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor: *value = properties.major; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor: *value = properties.minor; return cudaSuccess;
  }
  return result(cudaErrorInvalidValue);
}

cudaError_t cudaDeviceSynchronize() {
  count("cudaDeviceSynchronize");
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() { return last_error; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
  }
  return "unknown error";
}

const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  count("cudaMalloc");
  if (current_device >= devices()) return result(cudaErrorNoDevice);
  *pointer = nullptr;
  if (!bytes) return cudaSuccess;
  Lock lock(state().mutex);
  void* memory;
  if (bytes > memory_of_a_device() - state().used[current_device] || posix_memalign(&memory, 256, bytes)) {
    return result(cudaErrorMemoryAllocation);
  }
  memset(memory, 0xff, bytes);  // NaN: who reads memory that nothing wrote shall see it
  state().used[current_device] += bytes;
  state().allocations[reinterpret_cast<uintptr_t>(memory) + kDevice] = {bytes, current_device};
  *pointer = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(memory) + kDevice);
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  count("cudaFree");
  if (!devices()) return result(cudaErrorNoDevice);
  if (!pointer) return cudaSuccess;
  Lock lock(state().mutex);
  const auto allocation = state().allocations.find(reinterpret_cast<uintptr_t>(pointer));
  if (allocation == state().allocations.end()) return result(cudaErrorInvalidValue);
  state().used[allocation->second.device] -= allocation->second.bytes;
  state().allocations.erase(allocation);
  free(untagged(pointer));
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  count("cudaMallocHost");
  if (!devices()) return result(cudaErrorNoDevice);
  *pointer = nullptr;
  if (!bytes) return cudaSuccess;
  if (posix_memalign(pointer, 256, bytes)) return result(cudaErrorMemoryAllocation);
  memset(*pointer, 0xff, bytes);
  Lock lock(state().mutex);
  state().pinned[*pointer] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* pointer) {
  count("cudaFreeHost");
  if (!pointer) return cudaSuccess;
  Lock lock(state().mutex);
  if (!state().pinned.erase(pointer)) return result(cudaErrorInvalidValue);
  free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  Lock lock(state().mutex);
  *total_bytes = memory_of_a_device();
  *free_bytes = *total_bytes - state().used[current_device];
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  Lock lock(state().mutex);
  *attributes = {cudaMemoryTypeUnregistered, -2, nullptr, const_cast<void*>(pointer)};
  const auto after = state().pinned.upper_bound(pointer);
  if (on_device(pointer)) {
    const Allocation* allocation = find(pointer, 1);
    if (!allocation) return result(cudaErrorInvalidValue);
    *attributes = {cudaMemoryTypeDevice, allocation->device, const_cast<void*>(pointer), nullptr};
  } else if (after != state().pinned.begin() &&
             size_t(static_cast<const char*>(pointer) - static_cast<const char*>(std::prev(after)->first)) <
                 std::prev(after)->second) {
    *attributes = {cudaMemoryTypeHost, current_device, nullptr, const_cast<void*>(pointer)};
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return copy("cudaMemcpy", to, from, bytes, kind);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  return copy("cudaMemcpyAsync", to, from, bytes, kind);
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  count("cudaMemset");
  if (!bytes) return cudaSuccess;
  Lock lock(state().mutex);
  if (!on_device(to) || !find(to, bytes)) return result(cudaErrorInvalidValue);
  memset(untagged(to), value, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) { return cudaMemset(to, value, bytes); }

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return create(&state().streams, stream); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return create(&state().streams, stream); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return destroy(&state().streams, stream); }

cudaError_t cudaStreamSynchronize(cudaStream_t) {
  count("cudaStreamSynchronize");
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t* event) { return create(&state().events, event); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return create(&state().events, event); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return destroy(&state().events, event); }

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->time = std::chrono::steady_clock::now();
  event->recorded = true;
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t) {
  count("cudaEventSynchronize");
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  if (!start->recorded || !stop->recorded) return result(cudaErrorInvalidResourceHandle);
  *milliseconds = std::chrono::duration<float, std::milli>(stop->time - start->time).count();
  return cudaSuccess;
}
