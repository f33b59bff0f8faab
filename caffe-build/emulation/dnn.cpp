// cuDNN but for its convolutions: descriptors, activations, pooling, softmax, normalisations, in plain loops.
#include "dnn.hpp"

#include <math.h>

#include <algorithm>

struct EmulatedActivation {
  cudnnActivationMode_t mode = CUDNN_ACTIVATION_RELU;
  cudnnNanPropagation_t nan = CUDNN_PROPAGATE_NAN;
};
struct EmulatedPooling {
  cudnnPoolingMode_t mode = CUDNN_POOLING_MAX;
  int window_h = 0, window_w = 0, pad_h = 0, pad_w = 0, stride_h = 0, stride_w = 0;
};
struct EmulatedNormalization {
  unsigned n = 0;
  double alpha = 0, beta = 0, k = 0;
};

namespace {

using emulation::Blend;
using emulation::View;
using emulation::by_type;

template <typename T>
cudnnStatus_t create(T** object) {
  *object = new T;
  return CUDNN_STATUS_SUCCESS;
}

template <typename T>
cudnnStatus_t destroy(T* object) {
  delete object;
  return CUDNN_STATUS_SUCCESS;
}

/// Counts a call whose tensors must have one shape.
cudnnStatus_t begin(const char* who, cudnnHandle_t handle, std::initializer_list<cudnnTensorDescriptor_t> tensors) {
  emulation::count(who);
  bool good = handle;
  for (cudnnTensorDescriptor_t tensor : tensors) good = good && tensor->same_shape(**tensors.begin());
  return good ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

/// The window of an output of a pooling, cut to the image.
struct Window {
  int from_h, to_h, from_w, to_w, area;

  Window(const EmulatedPooling& p, const EmulatedTensor& x, int h, int w)
      : from_h(std::max(h * p.stride_h - p.pad_h, 0)), to_h(std::min(h * p.stride_h - p.pad_h + p.window_h, x.h)),
        from_w(std::max(w * p.stride_w - p.pad_w, 0)), to_w(std::min(w * p.stride_w - p.pad_w + p.window_w, x.w)),
        area(p.mode == CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING ? p.window_h * p.window_w
                                                                   : (to_h - from_h) * (to_w - from_w)) {}
};

bool is_max(const EmulatedPooling& pooling) {
  return pooling.mode == CUDNN_POOLING_MAX || pooling.mode == CUDNN_POOLING_MAX_DETERMINISTIC;
}

/// Offset in x of the highest value of a window; the first of equals, a NaN above all.
template <typename T>
size_t highest(const View<const T>& x, const Window& window, int n, int c) {
  size_t best = x.of.offset(n, c, window.from_h, window.from_w);
  for (int h = window.from_h; h < window.to_h; ++h)
    for (int w = window.from_w; w < window.to_w; ++w)
      if (!(x(n, c, h, w) <= x.data[best]) && !isnan(x.data[best])) best = x.of.offset(n, c, h, w);
  return best;
}

cudnnStatus_t fits(const EmulatedPooling& p, const EmulatedTensor& x, const EmulatedTensor& y) {
  // Caffe rounds the size of the output up: its last window may reach beyond the padding, but must begin in the image.
  const bool good = p.window_h > 0 && x.n > 0 && x.type == y.type && x.n == y.n && x.c == y.c &&
      (y.h - 1) * p.stride_h - p.pad_h < x.h && (y.w - 1) * p.stride_w - p.pad_w < x.w;
  return good ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

/// y = x * s^-beta with s = k + factor * (the sum of squares over a window around x), over channels or over the plane.
struct Normalization {
  const EmulatedNormalization& by;
  bool channels;
  double factor() const { return by.alpha / (channels ? by.n : by.n * by.n); }

  /// Calls `body(c, h, w)` for the window around an element.
  template <typename Body>
  void each(const EmulatedTensor& x, int c, int h, int w, Body body) const {
    const int behind = (by.n - 1) / 2, ahead = by.n - 1 - behind;
    if (channels) {
      for (int i = std::max(c - behind, 0); i <= std::min(c + ahead, x.c - 1); ++i) body(i, h, w);
    } else {
      for (int i = std::max(h - behind, 0); i <= std::min(h + ahead, x.h - 1); ++i)
        for (int j = std::max(w - behind, 0); j <= std::min(w + ahead, x.w - 1); ++j) body(c, i, j);
    }
  }

  template <typename T>
  double scale(const View<const T>& x, int n, int c, int h, int w) const {
    double sum = 0;
    each(x.of, c, h, w, [&](int i, int j, int l) { sum += double(x(n, i, j, l)) * x(n, i, j, l); });
    return by.k + factor() * sum;
  }

  cudnnStatus_t forward(const char* who, const EmulatedTensor& x_of, const void* x_data, const EmulatedTensor& y_of,
                        void* y_data, const void* alpha, const void* beta) const {
    return by_type(x_of.type, [&](auto zero) {
      typedef decltype(zero) T;
      const View<const T> x(who, "x", x_of, x_data);
      const View<T> y(who, "y", y_of, y_data);
      const Blend<T> blend(alpha, beta);
      x.each([&](int n, int c, int h, int w) {
        blend(&y(n, c, h, w), x(n, c, h, w) * pow(scale(x, n, c, h, w), -by.beta));
      });
      return CUDNN_STATUS_SUCCESS;
    });
  }

  cudnnStatus_t backward(const char* who, const EmulatedTensor& x_of, const void* x_data, const EmulatedTensor& dy_of,
                         const void* dy_data, const EmulatedTensor& dx_of, void* dx_data, const void* alpha,
                         const void* beta) const {
    return by_type(x_of.type, [&](auto zero) {
      typedef decltype(zero) T;
      const View<const T> x(who, "x", x_of, x_data), dy(who, "dy", dy_of, dy_data);
      const View<T> dx(who, "dx", dx_of, dx_data);
      std::vector<double> sums(dx_of.extent());
      x.each([&](int n, int c, int h, int w) {
        const double s = scale(x, n, c, h, w), d = dy(n, c, h, w) * pow(s, -by.beta);
        sums[dx_of.offset(n, c, h, w)] += d;
        each(x_of, c, h, w, [&](int i, int j, int l) {
          sums[dx_of.offset(n, i, j, l)] -= 2 * factor() * by.beta * d * x(n, c, h, w) / s * x(n, i, j, l);
        });
      });
      const Blend<T> blend(alpha, beta);
      dx.each([&](int n, int c, int h, int w) { blend(&dx(n, c, h, w), sums[dx_of.offset(n, c, h, w)]); });
      return CUDNN_STATUS_SUCCESS;
    });
  }
};

}  // namespace

size_t cudnnGetVersion() { return CUDNN_VERSION; }

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_ALLOC_FAILED: return "CUDNN_STATUS_ALLOC_FAILED";
  }
  return "unknown cuDNN status";
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  int devices;
  *handle = nullptr;
  return cudaGetDeviceCount(&devices) == cudaSuccess ? create(handle) : CUDNN_STATUS_NOT_INITIALIZED;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return destroy(handle); }
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t) {
  return handle ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_INITIALIZED;
}

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* tensor) { return create(tensor); }
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t tensor) { return destroy(tensor); }
cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t tensor, cudnnDataType_t type, int n, int c, int h,
    int w, int stride_n, int stride_c, int stride_h, int stride_w) {
  if (!tensor || n < 1 || c < 1 || h < 1 || w < 1 || stride_n < 1 || stride_c < 1 || stride_h < 1 || stride_w < 1) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  *tensor = {type, n, c, h, w, stride_n, stride_c, stride_h, stride_w};
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t tensor, cudnnTensorFormat_t format,
    cudnnDataType_t type, int n, int c, int h, int w) {
  if (format != CUDNN_TENSOR_NCHW) return CUDNN_STATUS_NOT_SUPPORTED;
  return cudnnSetTensor4dDescriptorEx(tensor, type, n, c, h, w, c * h * w, h * w, w, 1);
}
cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* filter) { return create(filter); }
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t filter) { return destroy(filter); }
cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t filter, cudnnDataType_t type,
    cudnnTensorFormat_t format, int k, int c, int h, int w) {
  return cudnnSetTensor4dDescriptor(reinterpret_cast<cudnnTensorDescriptor_t>(filter), format, type, k, c, h, w);
}

cudnnStatus_t cudnnAddTensor(cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t a_of, const void* a,
    const void* beta, const cudnnTensorDescriptor_t c_of, void* c) {
  const char* who = __func__;
  const cudnnStatus_t status = begin(who, handle, {c_of});
  if (status != CUDNN_STATUS_SUCCESS) return status;
  const int from[] = {a_of->n, a_of->c, a_of->h, a_of->w}, to[] = {c_of->n, c_of->c, c_of->h, c_of->w};
  for (int axis = 0; axis < 4; ++axis) {  // an axis of 1 is repeated
    if (a_of->type != c_of->type || (from[axis] != 1 && from[axis] != to[axis])) return CUDNN_STATUS_BAD_PARAM;
  }
  return by_type(c_of->type, [&](auto zero) {
    typedef decltype(zero) T;
    const View<const T> added(who, "A", *a_of, a);
    const View<T> result(who, "C", *c_of, c);
    const Blend<T> blend(alpha, beta);
    result.each([&](int n, int c, int h, int w) {
      blend(&result(n, c, h, w), added(n % from[0], c % from[1], h % from[2], w % from[3]));
    });
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnCreateActivationDescriptor(cudnnActivationDescriptor_t* activation) { return create(activation); }
cudnnStatus_t cudnnDestroyActivationDescriptor(cudnnActivationDescriptor_t activation) { return destroy(activation); }
cudnnStatus_t cudnnSetActivationDescriptor(cudnnActivationDescriptor_t activation, cudnnActivationMode_t mode,
    cudnnNanPropagation_t nan, double) {
  *activation = {mode, nan};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnActivationForward(cudnnHandle_t handle, cudnnActivationDescriptor_t activation, const void* alpha,
    const cudnnTensorDescriptor_t x_of, const void* x, const void* beta, const cudnnTensorDescriptor_t y_of, void* y) {
  const char* who = __func__;
  const cudnnStatus_t status = begin(who, handle, {x_of, y_of});
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return by_type(x_of->type, [&](auto zero) {
    typedef decltype(zero) T;
    const View<const T> in(who, "x", *x_of, x);
    const View<T> out(who, "y", *y_of, y);
    const Blend<T> blend(alpha, beta);
    in.each([&](int n, int c, int h, int w) {
      const double v = in(n, c, h, w);
      const double relu = isnan(v) && activation->nan == CUDNN_PROPAGATE_NAN ? v : v > 0 ? v : 0;
      blend(&out(n, c, h, w), activation->mode == CUDNN_ACTIVATION_RELU ? relu :
            activation->mode == CUDNN_ACTIVATION_TANH ? tanh(v) : 1 / (1 + exp(-v)));
    });
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnActivationBackward(cudnnHandle_t handle, cudnnActivationDescriptor_t activation, const void* alpha,
    const cudnnTensorDescriptor_t y_of, const void* y, const cudnnTensorDescriptor_t dy_of, const void* dy,
    const cudnnTensorDescriptor_t x_of, const void* x, const void* beta, const cudnnTensorDescriptor_t dx_of, void* dx) {
  const char* who = __func__;
  const cudnnStatus_t status = begin(who, handle, {x_of, y_of, dy_of, dx_of});
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return by_type(x_of->type, [&](auto zero) {
    typedef decltype(zero) T;
    View<const T>(who, "x", *x_of, x);  // must be there, though only y is read
    const View<const T> out(who, "y", *y_of, y), d_out(who, "dy", *dy_of, dy);
    const View<T> d_in(who, "dx", *dx_of, dx);
    const Blend<T> blend(alpha, beta);
    out.each([&](int n, int c, int h, int w) {
      const double v = out(n, c, h, w);
      blend(&d_in(n, c, h, w), d_out(n, c, h, w) * (activation->mode == CUDNN_ACTIVATION_RELU ? v > 0 :
            activation->mode == CUDNN_ACTIVATION_TANH ? 1 - v * v : v * (1 - v)));
    });
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnCreatePoolingDescriptor(cudnnPoolingDescriptor_t* pooling) { return create(pooling); }
cudnnStatus_t cudnnDestroyPoolingDescriptor(cudnnPoolingDescriptor_t pooling) { return destroy(pooling); }
cudnnStatus_t cudnnSetPooling2dDescriptor(cudnnPoolingDescriptor_t pooling, cudnnPoolingMode_t mode,
    cudnnNanPropagation_t, int window_h, int window_w, int pad_h, int pad_w, int stride_h, int stride_w) {
  if (!pooling || window_h < 1 || window_w < 1 || pad_h < 0 || pad_w < 0 || pad_h >= window_h || pad_w >= window_w ||
      stride_h < 1 || stride_w < 1) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  *pooling = {mode, window_h, window_w, pad_h, pad_w, stride_h, stride_w};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnPoolingForward(cudnnHandle_t handle, const cudnnPoolingDescriptor_t pooling, const void* alpha,
    const cudnnTensorDescriptor_t x_of, const void* x, const void* beta, const cudnnTensorDescriptor_t y_of, void* y) {
  const char* who = __func__;
  cudnnStatus_t status = begin(who, handle, {x_of});
  if (status == CUDNN_STATUS_SUCCESS) status = fits(*pooling, *x_of, *y_of);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return by_type(x_of->type, [&](auto zero) {
    typedef decltype(zero) T;
    const View<const T> in(who, "x", *x_of, x);
    const View<T> out(who, "y", *y_of, y);
    const Blend<T> blend(alpha, beta);
    out.each([&](int n, int c, int h, int w) {
      const Window window(*pooling, *x_of, h, w);
      double sum = 0;
      for (int i = window.from_h; i < window.to_h; ++i)
        for (int j = window.from_w; j < window.to_w; ++j) sum += in(n, c, i, j);
      blend(&out(n, c, h, w), is_max(*pooling) ? in.data[highest(in, window, n, c)] : sum / window.area);
    });
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnPoolingBackward(cudnnHandle_t handle, const cudnnPoolingDescriptor_t pooling, const void* alpha,
    const cudnnTensorDescriptor_t y_of, const void* y, const cudnnTensorDescriptor_t dy_of, const void* dy,
    const cudnnTensorDescriptor_t x_of, const void* x, const void* beta, const cudnnTensorDescriptor_t dx_of, void* dx) {
  const char* who = __func__;
  cudnnStatus_t status = begin(who, handle, {x_of, dx_of});
  if (status == CUDNN_STATUS_SUCCESS) status = fits(*pooling, *x_of, *y_of);
  if (status == CUDNN_STATUS_SUCCESS && !y_of->same_shape(*dy_of)) status = CUDNN_STATUS_BAD_PARAM;
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return by_type(x_of->type, [&](auto zero) {
    typedef decltype(zero) T;
    const View<const T> in(who, "x", *x_of, x), out(who, "y", *y_of, y), d_out(who, "dy", *dy_of, dy);
    const View<T> d_in(who, "dx", *dx_of, dx);
    std::vector<double> sums(std::max(x_of->extent(), dx_of->extent()));
    d_out.each([&](int n, int c, int h, int w) {
      const Window window(*pooling, *x_of, h, w);
      if (is_max(*pooling)) sums[highest(in, window, n, c)] += d_out(n, c, h, w);
      for (int i = window.from_h; i < window.to_h && !is_max(*pooling); ++i)
        for (int j = window.from_w; j < window.to_w; ++j)
          sums[x_of->offset(n, c, i, j)] += double(d_out(n, c, h, w)) / window.area;
    });
    const Blend<T> blend(alpha, beta);
    d_in.each([&](int n, int c, int h, int w) { blend(&d_in(n, c, h, w), sums[x_of->offset(n, c, h, w)]); });
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnSoftmaxForward(cudnnHandle_t handle, cudnnSoftmaxAlgorithm_t algorithm, cudnnSoftmaxMode_t mode,
    const void* alpha, const cudnnTensorDescriptor_t x_of, const void* x, const void* beta,
    const cudnnTensorDescriptor_t y_of, void* y) {
  const char* who = __func__;
  const cudnnStatus_t status = begin(who, handle, {x_of, y_of});
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (algorithm != CUDNN_SOFTMAX_ACCURATE || mode != CUDNN_SOFTMAX_MODE_CHANNEL) return CUDNN_STATUS_NOT_SUPPORTED;
  return by_type(x_of->type, [&](auto zero) {
    typedef decltype(zero) T;
    const View<const T> in(who, "x", *x_of, x);
    const View<T> out(who, "y", *y_of, y);
    const Blend<T> blend(alpha, beta);
    in.each([&](int n, int c, int h, int w) {
      if (c > 0) return;  // all channels at once
      double top = -INFINITY, sum = 0;
      for (int k = 0; k < x_of->c; ++k) top = std::max(top, double(in(n, k, h, w)));
      for (int k = 0; k < x_of->c; ++k) sum += exp(in(n, k, h, w) - top);
      for (int k = 0; k < x_of->c; ++k) blend(&out(n, k, h, w), exp(in(n, k, h, w) - top) / sum);
    });
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnSoftmaxBackward(cudnnHandle_t handle, cudnnSoftmaxAlgorithm_t algorithm, cudnnSoftmaxMode_t mode,
    const void* alpha, const cudnnTensorDescriptor_t y_of, const void* y, const cudnnTensorDescriptor_t dy_of,
    const void* dy, const void* beta, const cudnnTensorDescriptor_t dx_of, void* dx) {
  const char* who = __func__;
  const cudnnStatus_t status = begin(who, handle, {y_of, dy_of, dx_of});
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (algorithm != CUDNN_SOFTMAX_ACCURATE || mode != CUDNN_SOFTMAX_MODE_CHANNEL) return CUDNN_STATUS_NOT_SUPPORTED;
  return by_type(y_of->type, [&](auto zero) {
    typedef decltype(zero) T;
    const View<const T> out(who, "y", *y_of, y), d_out(who, "dy", *dy_of, dy);
    const View<T> d_in(who, "dx", *dx_of, dx);
    const Blend<T> blend(alpha, beta);
    out.each([&](int n, int c, int h, int w) {
      double dot = 0;
      for (int k = 0; k < y_of->c && c == 0; ++k) dot += double(d_out(n, k, h, w)) * out(n, k, h, w);
      for (int k = 0; k < y_of->c && c == 0; ++k) {
        blend(&d_in(n, k, h, w), out(n, k, h, w) * (d_out(n, k, h, w) - dot));
      }
    });
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnCreateLRNDescriptor(cudnnLRNDescriptor_t* normalization) { return create(normalization); }
cudnnStatus_t cudnnDestroyLRNDescriptor(cudnnLRNDescriptor_t normalization) { return destroy(normalization); }
cudnnStatus_t cudnnSetLRNDescriptor(cudnnLRNDescriptor_t normalization, unsigned n, double alpha, double beta, double k) {
  if (!normalization || n < CUDNN_LRN_MIN_N || n > CUDNN_LRN_MAX_N || k < CUDNN_LRN_MIN_K || beta < CUDNN_LRN_MIN_BETA) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  *normalization = {n, alpha, beta, k};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnLRNCrossChannelForward(cudnnHandle_t handle, cudnnLRNDescriptor_t normalization, cudnnLRNMode_t,
    const void* alpha, const cudnnTensorDescriptor_t x_of, const void* x, const void* beta,
    const cudnnTensorDescriptor_t y_of, void* y) {
  const cudnnStatus_t status = begin(__func__, handle, {x_of, y_of});
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return Normalization{*normalization, true}.forward(__func__, *x_of, x, *y_of, y, alpha, beta);
}

cudnnStatus_t cudnnLRNCrossChannelBackward(cudnnHandle_t handle, cudnnLRNDescriptor_t normalization, cudnnLRNMode_t,
    const void* alpha, const cudnnTensorDescriptor_t y_of, const void*, const cudnnTensorDescriptor_t dy_of,
    const void* dy, const cudnnTensorDescriptor_t x_of, const void* x, const void* beta,
    const cudnnTensorDescriptor_t dx_of, void* dx) {
  const cudnnStatus_t status = begin(__func__, handle, {x_of, y_of, dy_of, dx_of});
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return Normalization{*normalization, true}.backward(__func__, *x_of, x, *dy_of, dy, *dx_of, dx, alpha, beta);
}

cudnnStatus_t cudnnDivisiveNormalizationForward(cudnnHandle_t handle, cudnnLRNDescriptor_t normalization,
    cudnnDivNormMode_t, const void* alpha, const cudnnTensorDescriptor_t x_of, const void* x, const void* means,
    void*, void*, const void* beta, const cudnnTensorDescriptor_t y_of, void* y) {
  const cudnnStatus_t status = begin(__func__, handle, {x_of, y_of});
  if (status != CUDNN_STATUS_SUCCESS || means) return means ? CUDNN_STATUS_NOT_SUPPORTED : status;
  return Normalization{*normalization, false}.forward(__func__, *x_of, x, *y_of, y, alpha, beta);
}

cudnnStatus_t cudnnDivisiveNormalizationBackward(cudnnHandle_t handle, cudnnLRNDescriptor_t normalization,
    cudnnDivNormMode_t, const void* alpha, const cudnnTensorDescriptor_t x_of, const void* x, const void* means,
    const void* dy, void*, void*, const void* beta, const cudnnTensorDescriptor_t dx_of, void* dx, void* d_means) {
  const cudnnStatus_t status = begin(__func__, handle, {x_of, dx_of});
  if (status != CUDNN_STATUS_SUCCESS || means || d_means) return means || d_means ? CUDNN_STATUS_NOT_SUPPORTED : status;
  return Normalization{*normalization, false}.backward(__func__, *x_of, x, *x_of, dy, *dx_of, dx, alpha, beta);
}
