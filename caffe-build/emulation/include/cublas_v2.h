/* The functions of cuBLAS that Caffe calls, and pointer modes. Matrices are column-major. */
#ifndef EMULATION_CUBLAS_V2_H_
#define EMULATION_CUBLAS_V2_H_

#include "driver_types.h"

enum cublasStatus_t {
  CUBLAS_STATUS_SUCCESS = 0,
  CUBLAS_STATUS_NOT_INITIALIZED = 1,
  CUBLAS_STATUS_ALLOC_FAILED = 3,
  CUBLAS_STATUS_INVALID_VALUE = 7,
  CUBLAS_STATUS_ARCH_MISMATCH = 8,
  CUBLAS_STATUS_MAPPING_ERROR = 11,
  CUBLAS_STATUS_EXECUTION_FAILED = 13,
  CUBLAS_STATUS_INTERNAL_ERROR = 14,
  CUBLAS_STATUS_NOT_SUPPORTED = 15,
  CUBLAS_STATUS_LICENSE_ERROR = 16,
};
enum cublasOperation_t { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 };
enum cublasPointerMode_t { CUBLAS_POINTER_MODE_HOST = 0, CUBLAS_POINTER_MODE_DEVICE = 1 };
enum cublasMath_t { CUBLAS_DEFAULT_MATH = 0, CUBLAS_TF32_TENSOR_OP_MATH = 3 };
typedef struct EmulatedBlas* cublasHandle_t;

extern "C" {
cublasStatus_t cublasCreate(cublasHandle_t* handle);
cublasStatus_t cublasDestroy(cublasHandle_t handle);
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream);
cublasStatus_t cublasGetStream(cublasHandle_t handle, cudaStream_t* stream);
cublasStatus_t cublasSetPointerMode(cublasHandle_t handle, cublasPointerMode_t mode);
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode);

#define EMULATION_BLAS(letter, T)                                                                                     \
  cublasStatus_t cublas##letter##gemm(cublasHandle_t handle, cublasOperation_t of_a, cublasOperation_t of_b, int m,   \
      int n, int k, const T* alpha, const T* a, int lda, const T* b, int ldb, const T* beta, T* c, int ldc);          \
  cublasStatus_t cublas##letter##gemv(cublasHandle_t handle, cublasOperation_t of_a, int m, int n, const T* alpha,    \
      const T* a, int lda, const T* x, int stride_x, const T* beta, T* y, int stride_y);                              \
  cublasStatus_t cublas##letter##axpy(cublasHandle_t handle, int n, const T* alpha, const T* x, int stride_x, T* y,   \
      int stride_y);                                                                                                  \
  cublasStatus_t cublas##letter##scal(cublasHandle_t handle, int n, const T* alpha, T* x, int stride_x);              \
  cublasStatus_t cublas##letter##copy(cublasHandle_t handle, int n, const T* x, int stride_x, T* y, int stride_y);    \
  cublasStatus_t cublas##letter##dot(cublasHandle_t handle, int n, const T* x, int stride_x, const T* y,              \
      int stride_y, T* result);                                                                                       \
  cublasStatus_t cublas##letter##asum(cublasHandle_t handle, int n, const T* x, int stride_x, T* result);
EMULATION_BLAS(S, float)
EMULATION_BLAS(D, double)
#undef EMULATION_BLAS
}

#endif
