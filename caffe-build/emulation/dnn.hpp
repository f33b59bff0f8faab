// Descriptors of cuDNN, and tensors in device memory, for the files that implement it.
#ifndef EMULATION_DNN_HPP_
#define EMULATION_DNN_HPP_

#include <vector>

#include "cudnn.h"
#include "emulation.h"

struct EmulatedDnn {};

struct EmulatedTensor {
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  int n = 0, c = 0, h = 0, w = 0;  // 0: not set yet
  int stride_n = 0, stride_c = 0, stride_h = 0, stride_w = 0;

  size_t offset(int at_n, int at_c, int at_h, int at_w) const {
    return size_t(at_n) * stride_n + size_t(at_c) * stride_c + size_t(at_h) * stride_h + size_t(at_w) * stride_w;
  }
  size_t extent() const { return offset(n - 1, c - 1, h - 1, w - 1) + 1; }
  bool same_shape(const EmulatedTensor& other) const {
    return n > 0 && type == other.type && n == other.n && c == other.c && h == other.h && w == other.w;
  }
};

/// k filters of c channels, packed.
struct EmulatedFilter : EmulatedTensor {};

namespace emulation {

/// Calls `body` with a zero of the type, float or double.
template <typename Body>
cudnnStatus_t by_type(cudnnDataType_t type, Body body) {
  return type == CUDNN_DATA_FLOAT ? body(float(0)) : body(double(0));
}

/// A tensor's elements; `what` names it when it is not in device memory.
template <typename T>
struct View {
  const EmulatedTensor& of;
  T* data;

  View(const char* who, const char* what, const EmulatedTensor& of, const void* pointer)
      : of(of), data(real(who, what, static_cast<T*>(const_cast<void*>(pointer)), of.extent())) {}
  T& operator()(int n, int c, int h, int w) const { return data[of.offset(n, c, h, w)]; }

  /// Calls `body(n, c, h, w)` for each element.
  template <typename Body>
  void each(Body body) const {
    for (int n = 0; n < of.n; ++n)
      for (int c = 0; c < of.c; ++c)
        for (int h = 0; h < of.h; ++h)
          for (int w = 0; w < of.w; ++w) body(n, c, h, w);
  }
};

/// The factors of an operation: result = alpha * value + beta * old, where a beta of 0 does not read the old.
template <typename T>
struct Blend {
  T alpha, beta;

  Blend(const void* alpha, const void* beta) : alpha(*static_cast<const T*>(alpha)), beta(*static_cast<const T*>(beta)) {}
  void operator()(T* result, double value) const { *result = beta == 0 ? alpha * value : alpha * value + beta * *result; }
};

}  // namespace emulation

#endif
