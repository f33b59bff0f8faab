// Kernels for test_emulation.py, which starts the program with the name of a case.
#include <stdio.h>
#include <string.h>

#include <vector>

#include "kernels.cuh"
#include "macros.hpp"

DEFINE_ADD(add_float, float)

const int kThreads = 96;

template <typename T>
struct Device {
  T* data;
  int n;
  explicit Device(int n) : n(n) { cudaMalloc(&data, n * sizeof(T)); }
  explicit Device(const std::vector<T>& values) : Device(values.size()) {
    cudaMemcpy(data, values.data(), n * sizeof(T), cudaMemcpyHostToDevice);
  }
  ~Device() { cudaFree(data); }
  std::vector<T> host() const {
    std::vector<T> result(n);
    cudaMemcpy(result.data(), data, n * sizeof(T), cudaMemcpyDeviceToHost);
    return result;
  }
  void print() const {
    for (T value : host()) printf("%g ", double(value));
    printf("\n");
  }
};

template <typename T, int N>
__global__ void fill_2d(T* x) {
  x[(blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x * blockDim.y + threadIdx.y * blockDim.x + threadIdx.x] = N;
}

__global__ void count_down(float* x) { x[0] -= 1; }

void launches() {
  Device<float> x(8);
  fill<<<2, 4>>>(x.data, 7, 2.f);  // NOLINT kernel<<<1, 1>>>()
  fill_from_header(x.data + 7, 1, 5.f);
  if (x.n > 8)
    count_down<<<1, 1>>>(x.data);
  else
    count_down <<<dim3(1), dim3(1, 1), 0, nullptr>>>(x.data);
  add_float(x.data + 1, 1);
  x.print();
  fill_2d<float, 4 - 1>  // a comment
      <<<dim3(2, 2),
         dim3(1, 2), 16 * sizeof(float)>>>(x.data);
  x.print();
  printf("line %d\n", __LINE__);
}

__global__ void reverse(float* x) {
  __shared__ float of_block[kThreads];
  of_block[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  x[blockIdx.x * blockDim.x + threadIdx.x] = of_block[blockDim.x - 1 - threadIdx.x];
}

__global__ void prefix_sums(float* x) {
  extern __shared__ float sums[];
  sums[threadIdx.x] = x[threadIdx.x];
  for (int step = 1; step < blockDim.x; step *= 2) {
    __syncthreads();
    const float other = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
    __syncthreads();
    sums[threadIdx.x] += other;
  }
  x[threadIdx.x] = sums[threadIdx.x];
}

void barriers() {
  std::vector<float> numbers;
  for (int i = 0; i < 2 * kThreads; ++i) numbers.push_back(i);
  Device<float> x(numbers);
  reverse<<<2, kThreads>>>(x.data);
  x.print();
  prefix_sums<<<1, kThreads, kThreads * sizeof(float)>>>(x.data);
  x.print();
}

__global__ void shuffle(int* out) {
  const unsigned all = 0xffffffff;
  const int lane = threadIdx.x % 32, i = blockIdx.x * blockDim.x + threadIdx.x;
  int* of_thread = out + 6 * i;
  of_thread[0] = __shfl_xor_sync(all, i, 5);
  of_thread[1] = __shfl_down_sync(all, i, 3);
  of_thread[2] = __shfl_down_sync(all, i, 3, 8);
  of_thread[3] = __shfl_up_sync(all, i, 3);
  of_thread[4] = __shfl_sync(all, i, 7, 16);
  of_thread[5] = lane < 16 ? __shfl_xor_sync(0x0000ffff, i, 1) : __shfl_xor_sync(0xffff0000, i, 2);
  __syncwarp();
}

void shuffles() {
  Device<int> out(6 * 2 * 64);
  shuffle<<<2, 64>>>(out.data);
  out.print();
}

__global__ void some_return(float* x) {
  if (threadIdx.x == 1) return;
  __syncthreads();
  x[threadIdx.x] = 1;
}

__global__ void some_wait_elsewhere(int* x) {
  if (threadIdx.x < 16) {
    x[threadIdx.x] = __shfl_xor_sync(0xffffffff, 1, 1);
  } else {
    __syncthreads();
  }
}

__global__ void read_absent_lane(int* x) { x[threadIdx.x] = __shfl_down_sync(0xffffffff, 1, 8); }

__global__ void no_barrier(float* x) {
  __shared__ float of_block[kThreads];
  of_block[threadIdx.x] = threadIdx.x;
  x[blockIdx.x * blockDim.x + threadIdx.x] = of_block[blockDim.x - 1 - threadIdx.x];
}

__global__ void unwritten_shared(float* x) {
  __shared__ float of_block[2][kThreads], other;
  extern __shared__ float dynamic[];
  x[3 * blockIdx.x] = of_block[1][kThreads - 1];
  x[3 * blockIdx.x + 1] = other;
  x[3 * blockIdx.x + 2] = dynamic[0];
  of_block[1][kThreads - 1] = other = dynamic[0] = 1;
}

// More shared memory than a library that Python loads could have among its static thread-local variables.
__global__ void much_shared(float* x) {
  __shared__ float of_block[8192];
  for (int i = threadIdx.x; i < 8192; i += blockDim.x) of_block[i] = i;
  __syncthreads();
  x[threadIdx.x] = of_block[8191 - threadIdx.x];
}

__global__ void two_writers(float* x) { x[threadIdx.x] = blockIdx.x; }

__global__ void atomic_sums(float* x, double* y, int* z) {
  atomicAdd(x, 1.f);
  atomicAdd(y, 0.5);
  atomicMax(z, int(threadIdx.x));
  unsigned long long* bits = reinterpret_cast<unsigned long long*>(y + 1);  // NOLINT(runtime/int)
  unsigned long long old = *bits, assumed;  // NOLINT(runtime/int)
  do {
    assumed = old;
    old = atomicCAS(bits, assumed, __double_as_longlong(__longlong_as_double(assumed) + 2));
  } while (assumed != old);
}

void atomics() {
  Device<float> x(std::vector<float>(1, 0));
  Device<double> y(std::vector<double>(2, 0));
  Device<int> z(std::vector<int>(1, 0));
  atomic_sums<<<3, 40>>>(x.data, y.data, z.data);
  x.print();
  y.print();
  z.print();
}

void say(cudaError_t error) { printf("%s ", cudaGetErrorName(error)); }

void bad_launches() {
  Device<float> x(1);
  count_down<<<0, 1>>>(x.data);
  say(cudaPeekAtLastError());
  say(cudaGetLastError());
  say(cudaGetLastError());
  count_down<<<1, 1025>>>(x.data);
  say(cudaGetLastError());
  count_down<<<1, dim3(1, 1, 65)>>>(x.data);
  say(cudaGetLastError());
  count_down<<<dim3(1, 65536), 1>>>(x.data);
  say(cudaGetLastError());
  count_down<<<1, 1, 48 * 1024 + 1>>>(x.data);
  say(cudaGetLastError());
  count_down<<<1, 1024, 48 * 1024>>>(x.data);
  say(cudaGetLastError());
}

void copies() {
  float host[8] = {}, *device, *freed;
  cudaMalloc(&device, sizeof(host));
  cudaMalloc(&freed, sizeof(host));
  cudaFree(freed);
  cudaMemcpy(host, device, sizeof(host), cudaMemcpyDefault);
  printf("%g %g ", host[0], host[7]);  // fresh memory
  say(cudaMemcpy(device, host, sizeof(host), cudaMemcpyHostToDevice));
  say(cudaMemcpy(device, host, sizeof(host), cudaMemcpyDeviceToHost));
  say(cudaMemcpy(device + 1, host, sizeof(host), cudaMemcpyHostToDevice));
  say(cudaMemcpy(freed, host, sizeof(host), cudaMemcpyHostToDevice));
  say(cudaMemset(host, 0, sizeof(host)));
  say(cudaFree(freed));
  say(cudaFree(device + 1));
  say(cudaFree(device));
}

struct Two {
  int n;
  const float* from;
  float* to[2];
};

__global__ void copy_twice(Two two) { two.to[0][threadIdx.x] = two.to[1][threadIdx.x] = two.from[threadIdx.x] + two.n; }

void pointers_in_a_struct() {
  Device<float> x(std::vector<float>(2, 1)), y(2), z(2);
  copy_twice<<<1, 2>>>(Two{3, x.data, {y.data, z.data}});
  y.print();
  z.print();
}

void devices() {
  int count = -1;
  say(cudaGetDeviceCount(&count));
  printf("%d ", count);
  say(cudaSetDevice(1));
}

__global__ void overflow(float* x) { x[threadIdx.x + 1] = 0; }

int main(int, char** arguments) {
  const char* const name = arguments[1];
  const auto is = [name](const char* other) { return strcmp(name, other) == 0; };
  float on_host[kThreads];
  Device<float> x(2 * kThreads);
  Device<int> y(kThreads);
  if (is("launches")) launches();
  if (is("barriers")) barriers();
  if (is("shuffles")) shuffles();
  if (is("atomics")) atomics();
  if (is("bad_launches")) bad_launches();
  if (is("copies")) copies();
  if (is("pointers_in_a_struct")) pointers_in_a_struct();
  if (is("devices")) devices();
  if (is("some_return")) some_return<<<1, 64>>>(x.data);
  if (is("some_wait_elsewhere")) some_wait_elsewhere<<<1, 32>>>(y.data);
  if (is("read_absent_lane")) read_absent_lane<<<1, 40>>>(y.data);
  if (is("overflow")) overflow<<<1, 2 * kThreads>>>(x.data);
  if (is("kernel_on_host_memory")) count_down<<<1, 1>>>(on_host);
  if (is("host_on_device_memory")) printf("%g\n", x.data[0]);
  if (is("other_device")) {
    cudaSetDevice(1);
    count_down<<<1, 1>>>(x.data);
  }
  if (is("no_barrier")) {
    no_barrier<<<2, kThreads>>>(x.data);
    x.print();
  }
  if (is("two_writers")) {
    two_writers<<<8, 2 * kThreads>>>(x.data);
    x.print();
  }
  if (is("much_shared")) {
    much_shared<<<1, 64>>>(x.data);
    x.print();
  }
  if (is("unwritten_shared")) {
    unwritten_shared<<<2, 1, sizeof(float)>>>(x.data);
    x.print();
  }
  printf("end\n");
}
