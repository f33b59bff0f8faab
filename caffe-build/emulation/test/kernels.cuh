// A launch in a header, and a macro with one.
#ifndef KERNELS_CUH_
#define KERNELS_CUH_

template <typename T>
__global__ void fill(T* x, int n, T value) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] = value;
}

template <typename T>
void fill_from_header(T* x, int n, T value) {
  fill<T><<<(n + 63) / 64, 64>>>(x, n, value);
}

#endif
