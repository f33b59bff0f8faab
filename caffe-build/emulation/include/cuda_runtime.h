/* The runtime's header for host code, with the words that mark device code. */
#ifndef EMULATION_CUDA_RUNTIME_H_
#define EMULATION_CUDA_RUNTIME_H_

#include "cuda_runtime_api.h"

#define __host__
#define __device__
#define __constant__
// Out of line and kept whole: other files launch a kernel by its declaration.
#define __global__ __attribute__((noinline, noclone, used))
#define __shared__ static thread_local
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

#endif
