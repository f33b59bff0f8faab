// cuBLAS, cuRAND, cuDNN and NCCL for test_emulation.py: operands are read from in*.bin, results go to out.bin.
#include <cublas_v2.h>
#include <cudnn.h>
#include <curand.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <thread>  // NOLINT(build/c++11)
#include <vector>

template <typename T>
struct Device {
  T* data;
  size_t n;
  explicit Device(size_t n) : n(n) { cudaMalloc(&data, n * sizeof(T)); }
  explicit Device(const char* path) {  // NaN as often as the file has it
    FILE* file = fopen(path, "rb");
    std::vector<T> values;
    T value;
    while (fread(&value, sizeof(T), 1, file) == 1) values.push_back(value);
    fclose(file);
    n = values.size();
    cudaMalloc(&data, n * sizeof(T));
    cudaMemcpy(data, values.data(), n * sizeof(T), cudaMemcpyHostToDevice);
  }
  void write() const {
    std::vector<T> values(n);
    cudaMemcpy(values.data(), data, n * sizeof(T), cudaMemcpyDeviceToHost);
    FILE* file = fopen("out.bin", "ab");
    fwrite(values.data(), sizeof(T), n, file);
    fclose(file);
  }
};

void gemm(char** a) {  // transposes, m, n, k, beta
  const bool of_a = atoi(a[0]), of_b = atoi(a[1]);
  const int m = atoi(a[2]), n = atoi(a[3]), k = atoi(a[4]);
  const float alpha = 2, beta = atof(a[5]);
  Device<float> x("in0.bin"), y("in1.bin"), z("in2.bin");
  cublasHandle_t handle;
  cublasCreate(&handle);
  printf("%d\n", cublasSgemm(handle, of_a ? CUBLAS_OP_T : CUBLAS_OP_N, of_b ? CUBLAS_OP_T : CUBLAS_OP_N, m, n, k, &alpha,
                             x.data, of_a ? k : m, y.data, of_b ? n : k, &beta, z.data, m));
  z.write();
}

void random_numbers() {
  curandGenerator_t generator;
  curandCreateGenerator(&generator, CURAND_RNG_PSEUDO_DEFAULT);
  Device<float> x(10000);
  for (int i = 0; i < 2; ++i) {
    curandSetPseudoRandomGeneratorSeed(generator, 7);
    curandSetGeneratorOffset(generator, 0);
    curandGenerateUniform(generator, x.data, x.n);
    x.write();
  }
  curandGenerateNormal(generator, x.data, x.n, 3, 2);
  x.write();
  printf("%d\n", curandGenerateNormal(generator, x.data, 3, 0, 1));
}

template <typename T>
struct Convolution {
  cudnnHandle_t handle;
  cudnnTensorDescriptor_t x_of, y_of;
  cudnnFilterDescriptor_t w_of;
  cudnnConvolutionDescriptor_t by;

  // n c h w  k r s  pad_h pad_w stride_h stride_w dilation_h dilation_w groups  height and width of the map
  explicit Convolution(const int* p) {
    const cudnnDataType_t type = sizeof(T) == 4 ? CUDNN_DATA_FLOAT : CUDNN_DATA_DOUBLE;
    cudnnCreate(&handle);
    cudnnCreateTensorDescriptor(&x_of);
    cudnnCreateTensorDescriptor(&y_of);
    cudnnCreateFilterDescriptor(&w_of);
    cudnnCreateConvolutionDescriptor(&by);
    cudnnSetTensor4dDescriptor(x_of, CUDNN_TENSOR_NCHW, type, p[0], p[1], p[2], p[3]);
    cudnnSetTensor4dDescriptor(y_of, CUDNN_TENSOR_NCHW, type, p[0], p[4], p[14], p[15]);
    cudnnSetFilter4dDescriptor(w_of, type, CUDNN_TENSOR_NCHW, p[4], p[1] / p[13], p[5], p[6]);
    cudnnSetConvolution2dDescriptor(by, p[7], p[8], p[9], p[10], p[11], p[12], CUDNN_CROSS_CORRELATION, type);
    cudnnSetConvolutionGroupCount(by, p[13]);
  }
};

// Direction, algorithm, bytes of workspace, alpha, beta, then the sizes. in2.bin is the old value of the result.
template <typename T>
void convolution(char** a) {
  int sizes[16];
  for (int i = 0; i < 16; ++i) sizes[i] = atoi(a[5 + i]);
  const Convolution<T> c(sizes);
  const int direction = atoi(a[0]), algorithm = atoi(a[1]);
  const T alpha = atof(a[3]), beta = atof(a[4]);
  Device<char> workspace(atoi(a[2]));
  Device<T> first("in0.bin"), second("in1.bin"), result("in2.bin");
  cudnnStatus_t status;
  if (direction == 0) {
    status = cudnnConvolutionForward(c.handle, &alpha, c.x_of, first.data, c.w_of, second.data, c.by,
        cudnnConvolutionFwdAlgo_t(algorithm), workspace.data, workspace.n, &beta, c.y_of, result.data);
  } else if (direction == 1) {
    status = cudnnConvolutionBackwardData(c.handle, &alpha, c.w_of, first.data, c.y_of, second.data, c.by,
        cudnnConvolutionBwdDataAlgo_t(algorithm), workspace.data, workspace.n, &beta, c.x_of, result.data);
  } else {
    status = cudnnConvolutionBackwardFilter(c.handle, &alpha, c.x_of, first.data, c.y_of, second.data, c.by,
        cudnnConvolutionBwdFilterAlgo_t(algorithm), workspace.data, workspace.n, &beta, c.w_of, result.data);
  }
  printf("%s\n", cudnnGetErrorString(status));
  result.write();
}

void search(char** a) {  // bytes of workspace; prints algorithm, status, bytes of each; the output goes to out.bin
  const int sizes[] = {1, 1, 3, 3, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 3, 3};
  const Convolution<float> c(sizes);
  Device<float> x(9), w(1), y(9);
  cudaMemset(y.data, 0, 36);
  Device<char> workspace(atoi(a[0]));
  cudnnConvolutionFwdAlgoPerf_t results[8];
  int found = 0;
  cudnnFindConvolutionForwardAlgorithmEx(c.handle, c.x_of, x.data, c.w_of, w.data, c.by, c.y_of, y.data, 8, &found, results,
                                         workspace.data, workspace.n);
  for (int i = 0; i < found; ++i) {
    printf("%d %s %zu\n", results[i].algo, cudnnGetErrorString(results[i].status), results[i].memory);
  }
  y.write();
}

void reduce() {
  const int devices[] = {0, 1, 2};
  ncclComm_t ranks[3];
  ncclCommInitAll(ranks, 3, devices);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([rank, &ranks] {
      cudaSetDevice(rank);
      Device<double> x(2);
      const double mine[] = {1. + rank, 10. * rank};
      double sums[2], first[2];
      for (int round = 0; round < 100; ++round) {
        cudaMemcpy(x.data, mine, sizeof(mine), cudaMemcpyDefault);
        ncclAllReduce(x.data, x.data, 2, ncclDouble, ncclSum, ranks[rank], 0);
        cudaMemcpy(sums, x.data, sizeof(sums), cudaMemcpyDefault);
        cudaMemcpy(x.data, mine, sizeof(mine), cudaMemcpyDefault);
        ncclBcast(x.data, 2, ncclDouble, 2, ranks[rank], 0);
        cudaMemcpy(first, x.data, sizeof(first), cudaMemcpyDefault);
      }
      printf("%g %g %g %g\n", sums[0], sums[1], first[0], first[1]);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

int main(int, char** arguments) {
  const char* const name = arguments[1];
  if (strcmp(name, "gemm") == 0) gemm(arguments + 2);
  if (strcmp(name, "random") == 0) random_numbers();
  if (strcmp(name, "float") == 0) convolution<float>(arguments + 2);
  if (strcmp(name, "double") == 0) convolution<double>(arguments + 2);
  if (strcmp(name, "search") == 0) search(arguments + 2);
  if (strcmp(name, "reduce") == 0) reduce();
}
