/* What nvcc knows in a .cu file without any include: the inside of kernels. rewrite.py includes it. */
#ifndef EMULATION_KERNEL_H_
#define EMULATION_KERNEL_H_

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "cuda_runtime.h"
#include "emulation.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // #pragma unroll

extern __thread uint3 threadIdx, blockIdx, blockDim, gridDim;
static const int warpSize = 32;

namespace emulation {

enum Meeting { kSyncWarp, kShuffle };

void sync_threads();

/// Waits for the lanes of `mask`; the value that lane `source` of the warp came with (the own one for `source` < 0).
uint64_t meet(Meeting meeting, unsigned mask, int source, uint64_t value);

/// Lane of the calling thread in its warp.
int lane();

/// The block's dynamic shared memory.
void* dynamic_shared();

/// Fills a shared variable with NaN, once a block: it may hold anything then.
void fresh(void* variable, size_t bytes);

template <typename T>
T shuffle(unsigned mask, T value, int source) {
  static_assert(std::is_arithmetic<T>::value && sizeof(T) <= 8, "a shuffle takes a number");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = meet(kShuffle, mask, source, bits);
  memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace emulation

inline void __syncthreads() { emulation::sync_threads(); }
inline void __syncwarp(unsigned mask = 0xffffffff) { emulation::meet(emulation::kSyncWarp, mask, -1, 0); }
inline void __threadfence() {}
inline void __threadfence_block() {}

// A source outside the segment of `width` lanes gives the caller its own value, but for __shfl_sync, which wraps.
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  return emulation::shuffle(mask, value, (emulation::lane() & ~(width - 1)) + (source & (width - 1)));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  const int source = emulation::lane() ^ lanes;
  return emulation::shuffle(mask, value, source < (emulation::lane() & ~(width - 1)) + width ? source : -1);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int place = emulation::lane() & (width - 1);
  return emulation::shuffle(mask, value, place + int(delta) < width ? emulation::lane() + int(delta) : -1);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int place = emulation::lane() & (width - 1);
  return emulation::shuffle(mask, value, place >= int(delta) ? emulation::lane() - int(delta) : -1);
}

// Blocks and threads run one after another, so plain operations are atomic. Overloads as in CUDA: others do not compile.
#define EMULATION_ATOMIC(name, T, expression) \
  inline T name(T* address, T value) {        \
    const T old = *address;                   \
    *address = expression;                    \
    return old;                               \
  }
#define EMULATION_ATOMICS_OF_INTEGER(T)                          \
  EMULATION_ATOMIC(atomicMax, T, old < value ? value : old)      \
  EMULATION_ATOMIC(atomicMin, T, value < old ? value : old)      \
  inline T atomicCAS(T* address, T compare, T value) {           \
    const T old = *address;                                      \
    if (old == compare) *address = value;                        \
    return old;                                                  \
  }
EMULATION_ATOMIC(atomicAdd, float, old + value)
EMULATION_ATOMIC(atomicAdd, double, old + value)
EMULATION_ATOMIC(atomicAdd, int, old + value)
EMULATION_ATOMIC(atomicAdd, unsigned, old + value)
EMULATION_ATOMIC(atomicAdd, unsigned long long, old + value)
EMULATION_ATOMIC(atomicExch, float, value)
EMULATION_ATOMIC(atomicExch, int, value)
EMULATION_ATOMIC(atomicExch, unsigned, value)
EMULATION_ATOMICS_OF_INTEGER(int)
EMULATION_ATOMICS_OF_INTEGER(unsigned)
EMULATION_ATOMICS_OF_INTEGER(unsigned long long)

template <typename T>
T __ldg(const T* address) {
  return *address;
}

template <typename To, typename From>
To emulation_bits(From value) {
  To result;
  static_assert(sizeof(To) == sizeof(From), "as many bits");
  memcpy(&result, &value, sizeof(To));
  return result;
}
inline double __longlong_as_double(long long value) { return emulation_bits<double>(value); }
inline long long __double_as_longlong(double value) { return emulation_bits<long long>(value); }
inline float __int_as_float(int value) { return emulation_bits<float>(value); }
inline int __float_as_int(float value) { return emulation_bits<int>(value); }

// A NaN loses against a number, as in CUDA.
template <typename A, typename B>
auto max(A a, B b) -> typename std::common_type<A, B>::type {
  typedef typename std::common_type<A, B>::type T;
  if constexpr (std::is_floating_point<T>::value) return fmax(T(a), T(b));
  return T(a) < T(b) ? T(b) : T(a);
}
template <typename A, typename B>
auto min(A a, B b) -> typename std::common_type<A, B>::type {
  typedef typename std::common_type<A, B>::type T;
  if constexpr (std::is_floating_point<T>::value) return fmin(T(a), T(b));
  return T(b) < T(a) ? T(b) : T(a);
}
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }

#define EMULATION_VECTORS(T, letter)                                                                         \
  struct __align__(2 * sizeof(T)) letter##2 { T x, y; };                                                     \
  struct __align__(4 * sizeof(T)) letter##4 { T x, y, z, w; };                                               \
  inline letter##2 make_##letter##2(T x, T y) { return {x, y}; }                                             \
  inline letter##4 make_##letter##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATION_VECTORS(float, float)
EMULATION_VECTORS(int, int)

#endif
