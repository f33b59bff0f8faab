/* What the emulator's own files share: device memory, counts, launches. */
#ifndef EMULATION_EMULATION_H_
#define EMULATION_EMULATION_H_

#include <stdint.h>
#include <string.h>

#include <functional>
#include <string>
#include <tuple>
#include <type_traits>

#include "cuda_runtime_api.h"

extern "C" {
/// Forgets all counts.
void emulation_reset_counts();
/// The counts as CSV lines "what,calls", sorted; valid until the thread's next call.
const char* emulation_counts();
}

namespace emulation {

/// Prints "emulation: ..." and aborts: for what is undefined, or a fault, on a GPU.
[[noreturn]] void die(const char* format, ...) __attribute__((format(printf, 1, 2)));

/// Counts a call of `what`.
void count(const std::string& what);

/**
 * Device pointers are real ones plus this: no such address exists, so host code that reads one faults, and a host
 * pointer given to a kernel is told from a device pointer.
 */
const uintptr_t kDevice = uintptr_t(0x00d0) << 48;

/// The real address behind a device pointer; dies unless all `bytes` lie in one allocation of the current device.
void* real(const char* who, const char* what, const void* pointer, size_t bytes);

template <typename T, typename = typename std::enable_if<!std::is_void<T>::value>::type>
T* real(const char* who, const char* what, T* pointer, size_t elements) {
  return static_cast<T*>(real(who, what, static_cast<const void*>(pointer), elements * sizeof(T)));
}

/// What <<<...>>> holds.
struct Configuration {
  dim3 grid, block;
  size_t shared;
  Configuration(dim3 grid, dim3 block, size_t shared = 0, cudaStream_t = 0) : grid(grid), block(block), shared(shared) {}
};

/// Counts a launch; false, and the error is set, if a GPU would refuse it.
bool accept(const char* kernel, const Configuration& configuration);

/// Calls `thread` once for each thread of the grid, with threadIdx and the like set.
void run(const char* kernel, const Configuration& configuration, const std::function<void()>& thread);

/// Makes the device pointers in the arguments of a kernel real, one call an argument.
struct Arguments {
  const char* kernel;
  int index = 0;

  template <typename T>
  T next(T value) {
    const std::string what = "argument " + std::to_string(++index);
    if constexpr (std::is_pointer<T>::value) {
      if (value) value = (T)real(kernel, what.c_str(), (const void*)value, 0);
    } else if constexpr (std::is_class<T>::value && std::is_trivially_copyable<T>::value) {
      for (size_t at = 0; at + sizeof(void*) <= sizeof(T); at += sizeof(void*)) {  // a struct of pointers
        void* word;
        memcpy(&word, reinterpret_cast<char*>(&value) + at, sizeof(word));
        if (reinterpret_cast<uintptr_t>(word) >> 48 == kDevice >> 48) {
          word = real(kernel, what.c_str(), static_cast<const void*>(word), 0);
          memcpy(reinterpret_cast<char*>(&value) + at, &word, sizeof(word));
        }
      }
    }
    return value;
  }
};

template <typename Body>
struct Launch {
  const char* kernel;
  Configuration configuration;
  Body body;

  template <typename... T>
  void operator()(T... values_given) const {
    if (!accept(kernel, configuration)) return;
    Arguments arguments{kernel};
    const std::tuple<T...> values{arguments.next(values_given)...};
    run(kernel, configuration, [&] { std::apply(body, values); });
  }
};

/// rewrite.py makes `kernel<T><<<C>>>(arguments);` into `launch("kernel", Configuration(C), body)(arguments);`.
template <typename Body>
Launch<Body> launch(const char* kernel, const Configuration& configuration, Body body) {
  return {kernel, configuration, body};
}

}  // namespace emulation

#define EMULATION_NAME(kernel) #kernel

#endif
