#ifndef CAFFE_UTIL_HOST_DEVICE_HPP_
#define CAFFE_UTIL_HOST_DEVICE_HPP_

/// Goes before an inline function that a layer's CPU code and its kernels share.
#ifdef __CUDACC__
#define CAFFE_HOST_DEVICE __host__ __device__
#else
#define CAFFE_HOST_DEVICE
#endif

namespace caffe {

/// a b, rounded before anything is added to it. nvcc fuses a product with a sum, whose last bit then differs from the CPU's;
/// this keeps what is compared with a limit on the same side of it.
CAFFE_HOST_DEVICE inline float RoundedProduct(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
CAFFE_HOST_DEVICE inline double RoundedProduct(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

}  // namespace caffe

#endif  // CAFFE_UTIL_HOST_DEVICE_HPP_
