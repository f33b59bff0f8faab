// cuBLAS: matrices through OpenBLAS, vectors in loops. Every operand must lie wholly in device memory.
#include "cublas_v2.h"

#include <cblas.h>
#include <math.h>

#include <algorithm>
#include <vector>

#include "emulation.h"

struct EmulatedBlas {
  cudaStream_t stream = nullptr;
  cublasPointerMode_t mode = CUBLAS_POINTER_MODE_HOST;
};

namespace {

using emulation::real;

/// A number that the caller gives (alpha, beta) or gets (a dot product), where the pointer mode says it lies.
template <typename T>
T* scalar(const char* who, cublasHandle_t handle, T* pointer) {
  if (handle->mode == CUBLAS_POINTER_MODE_DEVICE) return real(who, "a scalar (pointer mode: device)", pointer, 1);
  if (reinterpret_cast<uintptr_t>(pointer) >> 48) emulation::die("%s: a scalar is no host memory (pointer mode: host)", who);
  return pointer;
}

template <typename T>
T* vector(const char* who, const char* what, T* x, int n, int stride) {
  return real(who, what, x, size_t(n - 1) * stride + 1);
}

template <typename T>
T* matrix(const char* who, const char* what, T* a, int rows, int columns, int ld) {
  return real(who, what, a, size_t(columns - 1) * ld + rows);
}

CBLAS_TRANSPOSE cblas(cublasOperation_t of) { return of == CUBLAS_OP_N ? CblasNoTrans : CblasTrans; }

void multiply(CBLAS_TRANSPOSE of_a, CBLAS_TRANSPOSE of_b, int m, int n, int k, float alpha, const float* a, int lda,
              const float* b, int ldb, float beta, float* c, int ldc) {
  cblas_sgemm(CblasColMajor, of_a, of_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
void multiply(CBLAS_TRANSPOSE of_a, CBLAS_TRANSPOSE of_b, int m, int n, int k, double alpha, const double* a, int lda,
              const double* b, int ldb, double beta, double* c, int ldc) {
  cblas_dgemm(CblasColMajor, of_a, of_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

template <typename T>
cublasStatus_t gemm(const char* who, cublasHandle_t handle, cublasOperation_t of_a, cublasOperation_t of_b, int m, int n,
                    int k, const T* alpha, const T* a, int lda, const T* b, int ldb, const T* beta, T* c, int ldc) {
  emulation::count(who);
  const int rows_a = of_a == CUBLAS_OP_N ? m : k, rows_b = of_b == CUBLAS_OP_N ? k : n;
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (m < 0 || n < 0 || k < 0 || lda < std::max(1, rows_a) || ldb < std::max(1, rows_b) || ldc < std::max(1, m)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (m == 0 || n == 0) return CUBLAS_STATUS_SUCCESS;
  const T of_product = *scalar(who, handle, alpha), of_old = *scalar(who, handle, beta);
  c = matrix(who, "C", c, m, n, ldc);
  for (int column = 0; column < n; ++column) {  // a factor of 0 does not read C, which may hold anything
    for (int row = 0; row < m; ++row) {
      T* element = c + size_t(column) * ldc + row;
      *element = of_old == 0 ? 0 : of_old * *element;
    }
  }
  if (k > 0 && of_product != 0) {
    multiply(cblas(of_a), cblas(of_b), m, n, k, of_product, matrix(who, "A", a, rows_a, of_a == CUBLAS_OP_N ? k : m, lda),
             lda, matrix(who, "B", b, rows_b, of_b == CUBLAS_OP_N ? n : k, ldb), ldb, T(1), c, ldc);
  }
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T>
cublasStatus_t gemv(const char* who, cublasHandle_t handle, cublasOperation_t of_a, int m, int n, const T* alpha,
                    const T* a, int lda, const T* x, int stride_x, const T* beta, T* y, int stride_y) {
  emulation::count(who);
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (m < 0 || n < 0 || lda < std::max(1, m) || stride_x < 1 || stride_y < 1) return CUBLAS_STATUS_INVALID_VALUE;
  if (m == 0 || n == 0) return CUBLAS_STATUS_SUCCESS;
  const bool plain = of_a == CUBLAS_OP_N;
  const int rows = plain ? m : n, terms = plain ? n : m;
  const T of_product = *scalar(who, handle, alpha), of_old = *scalar(who, handle, beta);
  a = matrix(who, "A", a, m, n, lda);
  x = vector(who, "x", x, terms, stride_x);
  y = vector(who, "y", y, rows, stride_y);
  std::vector<double> sums(rows);
  for (int column = 0; column < n; ++column) {
    for (int row = 0; row < m; ++row) {
      sums[plain ? row : column] += double(a[size_t(column) * lda + row]) * x[size_t(plain ? column : row) * stride_x];
    }
  }
  for (int i = 0; i < rows; ++i) {
    T* element = y + size_t(i) * stride_y;
    *element = of_product * sums[i] + (of_old == 0 ? 0 : of_old * *element);
  }
  return CUBLAS_STATUS_SUCCESS;
}

/// What all functions of vectors begin with: true if there is something to do, else *status is the answer.
bool begin(const char* who, cublasHandle_t handle, int n, int stride_x, int stride_y, cublasStatus_t* status) {
  emulation::count(who);
  *status = !handle ? CUBLAS_STATUS_NOT_INITIALIZED :
      stride_x < 1 || stride_y < 1 ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
  return *status == CUBLAS_STATUS_SUCCESS && n > 0;
}

template <typename T>
cublasStatus_t axpy(const char* who, cublasHandle_t handle, int n, const T* alpha, const T* x, int stride_x, T* y,
                    int stride_y) {
  cublasStatus_t status;
  if (!begin(who, handle, n, stride_x, stride_y, &status)) return status;
  const T factor = *scalar(who, handle, alpha);
  x = vector(who, "x", x, n, stride_x);
  y = vector(who, "y", y, n, stride_y);
  for (size_t i = 0; i < size_t(n); ++i) y[i * stride_y] += factor * x[i * stride_x];
  return status;
}

template <typename T>
cublasStatus_t scal(const char* who, cublasHandle_t handle, int n, const T* alpha, T* x, int stride) {
  cublasStatus_t status;
  if (!begin(who, handle, n, stride, stride, &status)) return status;
  const T factor = *scalar(who, handle, alpha);
  x = vector(who, "x", x, n, stride);
  for (size_t i = 0; i < size_t(n); ++i) x[i * stride] *= factor;
  return status;
}

template <typename T>
cublasStatus_t copy(const char* who, cublasHandle_t handle, int n, const T* x, int stride_x, T* y, int stride_y) {
  cublasStatus_t status;
  if (!begin(who, handle, n, stride_x, stride_y, &status)) return status;
  x = vector(who, "x", x, n, stride_x);
  y = vector(who, "y", y, n, stride_y);
  for (size_t i = 0; i < size_t(n); ++i) y[i * stride_y] = x[i * stride_x];
  return status;
}

template <typename T>
cublasStatus_t dot(const char* who, cublasHandle_t handle, int n, const T* x, int stride_x, const T* y, int stride_y,
                   T* result) {
  cublasStatus_t status;
  const bool some = begin(who, handle, n, stride_x, stride_y, &status);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  double sum = 0;
  if (some) {
    x = vector(who, "x", x, n, stride_x);
    y = vector(who, "y", y, n, stride_y);
    for (size_t i = 0; i < size_t(n); ++i) sum += double(x[i * stride_x]) * y[i * stride_y];
  }
  *scalar(who, handle, result) = sum;
  return status;
}

template <typename T>
cublasStatus_t asum(const char* who, cublasHandle_t handle, int n, const T* x, int stride, T* result) {
  cublasStatus_t status;
  const bool some = begin(who, handle, n, stride, stride, &status);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  double sum = 0;
  if (some) {
    x = vector(who, "x", x, n, stride);
    for (size_t i = 0; i < size_t(n); ++i) sum += fabs(x[i * stride]);
  }
  *scalar(who, handle, result) = sum;
  return status;
}

}  // namespace

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  int devices;
  if (cudaGetDeviceCount(&devices) != cudaSuccess) {
    *handle = nullptr;
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  *handle = new EmulatedBlas;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetStream(cublasHandle_t handle, cudaStream_t* stream) {
  *stream = handle->stream;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetPointerMode(cublasHandle_t handle, cublasPointerMode_t mode) {
  handle->mode = mode;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t) {  // TF32 is not emulated
  return handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}

#define EMULATION_BLAS(letter, T)                                                                                     \
  cublasStatus_t cublas##letter##gemm(cublasHandle_t handle, cublasOperation_t of_a, cublasOperation_t of_b, int m,   \
      int n, int k, const T* alpha, const T* a, int lda, const T* b, int ldb, const T* beta, T* c, int ldc) {         \
    return gemm(__func__, handle, of_a, of_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);                          \
  }                                                                                                                   \
  cublasStatus_t cublas##letter##gemv(cublasHandle_t handle, cublasOperation_t of_a, int m, int n, const T* alpha,    \
      const T* a, int lda, const T* x, int stride_x, const T* beta, T* y, int stride_y) {                             \
    return gemv(__func__, handle, of_a, m, n, alpha, a, lda, x, stride_x, beta, y, stride_y);                         \
  }                                                                                                                   \
  cublasStatus_t cublas##letter##axpy(cublasHandle_t handle, int n, const T* alpha, const T* x, int stride_x, T* y,   \
      int stride_y) {                                                                                                 \
    return axpy(__func__, handle, n, alpha, x, stride_x, y, stride_y);                                                \
  }                                                                                                                   \
  cublasStatus_t cublas##letter##scal(cublasHandle_t handle, int n, const T* alpha, T* x, int stride_x) {             \
    return scal(__func__, handle, n, alpha, x, stride_x);                                                             \
  }                                                                                                                   \
  cublasStatus_t cublas##letter##copy(cublasHandle_t handle, int n, const T* x, int stride_x, T* y, int stride_y) {   \
    return copy(__func__, handle, n, x, stride_x, y, stride_y);                                                       \
  }                                                                                                                   \
  cublasStatus_t cublas##letter##dot(cublasHandle_t handle, int n, const T* x, int stride_x, const T* y,              \
      int stride_y, T* result) {                                                                                      \
    return dot(__func__, handle, n, x, stride_x, y, stride_y, result);                                                \
  }                                                                                                                   \
  cublasStatus_t cublas##letter##asum(cublasHandle_t handle, int n, const T* x, int stride_x, T* result) {            \
    return asum(__func__, handle, n, x, stride_x, result);                                                            \
  }
EMULATION_BLAS(S, float)
EMULATION_BLAS(D, double)
