// cuDNN's convolutions: one walk over all products of an image, a weight and a map, summed in double precision.
#include <string.h>

#include <algorithm>

#include "dnn.hpp"

struct EmulatedConvolution {
  int pad_h = 0, pad_w = 0, stride_h = 0, stride_w = 0, dilation_h = 0, dilation_w = 0, groups = 1;
  cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
};

namespace {

using emulation::Blend;
using emulation::View;
using emulation::by_type;

const size_t kWorkspace = 1 << 20;  // bytes that algorithm 1 of each direction wants; algorithm 0 wants none

/// One direction, as its descriptors stand: x is the image, y the map.
struct Problem {
  const EmulatedTensor& x;
  const EmulatedFilter& w;
  const EmulatedConvolution& by;
  const EmulatedTensor& y;

  cudnnStatus_t check() const {
    const int reach_h = (w.h - 1) * by.dilation_h + 1, reach_w = (w.w - 1) * by.dilation_w + 1;
    const bool set = x.n > 0 && w.n > 0 && y.n > 0 && by.stride_h > 0;
    if (!set || x.type != w.type || x.type != y.type || x.type != by.type || x.n != y.n || w.n != y.c ||
        x.c != w.c * by.groups || w.n % by.groups || x.h + 2 * by.pad_h < reach_h || x.w + 2 * by.pad_w < reach_w ||
        y.h != (x.h + 2 * by.pad_h - reach_h) / by.stride_h + 1 ||
        y.w != (x.w + 2 * by.pad_w - reach_w) / by.stride_w + 1) {
      return CUDNN_STATUS_BAD_PARAM;
    }
    return by.mode == CUDNN_CROSS_CORRELATION ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
  }

  /// Calls `body(offset in x, offset in w, offset in y)` for each product.
  template <typename Body>
  void each_product(Body body) const {
    for (int n = 0; n < y.n; ++n)
      for (int k = 0; k < y.c; ++k)
        for (int c = 0; c < w.c; ++c)
          for (int i = 0; i < y.h; ++i)
            for (int r = 0; r < w.h; ++r) {
              const int h = i * by.stride_h - by.pad_h + r * by.dilation_h;
              if (h < 0 || h >= x.h) continue;
              for (int j = 0; j < y.w; ++j)
                for (int s = 0; s < w.w; ++s) {
                  const int v = j * by.stride_w - by.pad_w + s * by.dilation_w;
                  if (v < 0 || v >= x.w) continue;
                  body(x.offset(n, k / (y.c / by.groups) * w.c + c, h, v), w.offset(k, c, r, s), y.offset(n, k, i, j));
                }
            }
  }
};

/// The bytes that an algorithm needs.
template <typename Algorithm>
cudnnStatus_t workspace_of(const Problem& problem, Algorithm algorithm, size_t* bytes) {
  *bytes = algorithm == 1 ? kWorkspace : 0;
  const cudnnStatus_t status = problem.check();
  return status == CUDNN_STATUS_SUCCESS && algorithm > 1 ? CUDNN_STATUS_NOT_SUPPORTED : status;
}

/// Sees that an algorithm can run, and uses the whole of the workspace that it asked for.
template <typename Algorithm>
cudnnStatus_t begin(const char* who, cudnnHandle_t handle, const Problem& problem, Algorithm algorithm, void* workspace,
                    size_t bytes) {
  emulation::count(who);
  size_t needed;
  const cudnnStatus_t status = workspace_of(problem, algorithm, &needed);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (!handle || bytes < needed) return CUDNN_STATUS_BAD_PARAM;
  if (needed) memset(emulation::real(who, "the workspace", workspace, needed), 0xff, needed);
  return CUDNN_STATUS_SUCCESS;
}

/**
 * The algorithms of a direction, best first: two that work within `limit` bytes and one that does not know such shapes.
 *
 * A direction whose algorithm 0 does not repeat bit by bit has it first, as the quickest. With the default arithmetic,
 * algorithm 1 is one on tensor cores (TF32).
 */
template <typename Algorithm>
cudnnStatus_t rank(const Problem& problem, bool repeats, size_t limit, int wanted, int* returned,
                   EmulatedPerformance<Algorithm>* results) {
  *returned = 0;
  const cudnnStatus_t status = problem.check();
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (wanted < 1) return CUDNN_STATUS_BAD_PARAM;
  const cudnnMathType_t math = problem.by.math;
  const bool tensor_cores = math != CUDNN_FMA_MATH && problem.x.type == CUDNN_DATA_FLOAT;
  EmulatedPerformance<Algorithm> zero = {Algorithm(0), CUDNN_STATUS_SUCCESS, 1, 0,
      repeats ? CUDNN_DETERMINISTIC : CUDNN_NON_DETERMINISTIC, math, {}};
  EmulatedPerformance<Algorithm> one = {Algorithm(1), CUDNN_STATUS_SUCCESS, 1, kWorkspace, CUDNN_DETERMINISTIC,
      tensor_cores ? CUDNN_TENSOR_OP_MATH : math, {}};
  EmulatedPerformance<Algorithm> two = {Algorithm(2), CUDNN_STATUS_NOT_SUPPORTED, -1, 0, CUDNN_DETERMINISTIC, math, {}};
  if (limit < one.memory) {
    one.status = CUDNN_STATUS_ALLOC_FAILED;
    one.time = -1;
  }
  const bool one_first = repeats && one.status == CUDNN_STATUS_SUCCESS;
  const EmulatedPerformance<Algorithm> all[] = {one_first ? one : zero, one_first ? zero : one, two};
  *returned = std::min(wanted, 3);
  std::copy(all, all + *returned, results);
  return CUDNN_STATUS_SUCCESS;
}

/// A search by running: the operands must be there, and the output and the workspace are overwritten.
template <typename Algorithm>
cudnnStatus_t search(const char* who, const Problem& problem, bool repeats, const EmulatedTensor& a_of, const void* a,
                     const EmulatedTensor& b_of, const void* b, const EmulatedTensor& out_of, void* out, int wanted,
                     int* returned, EmulatedPerformance<Algorithm>* results, void* workspace, size_t bytes) {
  emulation::count(who);
  const cudnnStatus_t status = rank(problem, repeats, bytes, wanted, returned, results);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (bytes) memset(emulation::real(who, "the workspace", workspace, bytes), 0xff, bytes);
  return by_type(problem.x.type, [&](auto zero) {
    typedef decltype(zero) T;
    View<T>(who, "the first operand", a_of, a);
    View<T>(who, "the second operand", b_of, b);
    const View<T> output(who, "the output", out_of, out);
    output.each([&](int n, int c, int h, int w) { memset(&output(n, c, h, w), 0xff, sizeof(T)); });
    return CUDNN_STATUS_SUCCESS;
  });
}

/// Writes the sums, which lie as the tensor does.
template <typename T>
cudnnStatus_t write(const View<T>& out, const std::vector<double>& sums, const void* alpha, const void* beta) {
  const Blend<T> blend(alpha, beta);
  out.each([&](int n, int c, int h, int w) { blend(&out(n, c, h, w), sums[out.of.offset(n, c, h, w)]); });
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* convolution) {
  *convolution = new EmulatedConvolution;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t convolution) {
  delete convolution;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t convolution, int pad_h, int pad_w,
    int stride_h, int stride_w, int dilation_h, int dilation_w, cudnnConvolutionMode_t mode, cudnnDataType_t type) {
  if (!convolution || pad_h < 0 || pad_w < 0 || stride_h < 1 || stride_w < 1 || dilation_h < 1 || dilation_w < 1) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  *convolution = {pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, 1, mode, type, CUDNN_DEFAULT_MATH};
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t convolution, int groups) {
  if (!convolution || groups < 1) return CUDNN_STATUS_BAD_PARAM;
  convolution->groups = groups;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t convolution, cudnnMathType_t math) {
  if (!convolution) return CUDNN_STATUS_BAD_PARAM;
  convolution->math = math;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t x_of,
    const void* x, const cudnnFilterDescriptor_t w_of, const void* w, const cudnnConvolutionDescriptor_t convolution,
    cudnnConvolutionFwdAlgo_t algorithm, void* workspace, size_t bytes, const void* beta,
    const cudnnTensorDescriptor_t y_of, void* y) {
  const char* who = __func__;
  const Problem problem{*x_of, *w_of, *convolution, *y_of};
  const cudnnStatus_t status = begin(who, handle, problem, algorithm, workspace, bytes);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return by_type(x_of->type, [&](auto zero) {
    typedef decltype(zero) T;
    const View<const T> images(who, "x", *x_of, x), weights(who, "w", *w_of, w);
    const View<T> maps(who, "y", *y_of, y);
    std::vector<double> sums(y_of->extent());
    problem.each_product([&](size_t image, size_t weight, size_t map) {
      sums[map] += double(images.data[image]) * weights.data[weight];
    });
    return write(maps, sums, alpha, beta);
  });
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void* alpha, const cudnnFilterDescriptor_t w_of,
    const void* w, const cudnnTensorDescriptor_t dy_of, const void* dy, const cudnnConvolutionDescriptor_t convolution,
    cudnnConvolutionBwdDataAlgo_t algorithm, void* workspace, size_t bytes, const void* beta,
    const cudnnTensorDescriptor_t dx_of, void* dx) {
  const char* who = __func__;
  const Problem problem{*dx_of, *w_of, *convolution, *dy_of};
  const cudnnStatus_t status = begin(who, handle, problem, algorithm, workspace, bytes);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return by_type(dx_of->type, [&](auto zero) {
    typedef decltype(zero) T;
    const View<const T> maps(who, "dy", *dy_of, dy), weights(who, "w", *w_of, w);
    const View<T> images(who, "dx", *dx_of, dx);
    std::vector<double> sums(dx_of->extent());
    problem.each_product([&](size_t image, size_t weight, size_t map) {
      sums[image] += double(maps.data[map]) * weights.data[weight];
    });
    return write(images, sums, alpha, beta);
  });
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void* alpha,
    const cudnnTensorDescriptor_t x_of, const void* x, const cudnnTensorDescriptor_t dy_of, const void* dy,
    const cudnnConvolutionDescriptor_t convolution, cudnnConvolutionBwdFilterAlgo_t algorithm, void* workspace,
    size_t bytes, const void* beta, const cudnnFilterDescriptor_t dw_of, void* dw) {
  const char* who = __func__;
  const Problem problem{*x_of, *dw_of, *convolution, *dy_of};
  const cudnnStatus_t status = begin(who, handle, problem, algorithm, workspace, bytes);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return by_type(x_of->type, [&](auto zero) {
    typedef decltype(zero) T;
    const View<const T> images(who, "x", *x_of, x), maps(who, "dy", *dy_of, dy);
    const View<T> weights(who, "dw", *dw_of, dw);
    std::vector<double> sums(dw_of->extent());
    problem.each_product([&](size_t image, size_t weight, size_t map) {
      sums[weight] += double(images.data[image]) * maps.data[map];
    });
    return write(weights, sums, alpha, beta);
  });
}

cudnnStatus_t cudnnConvolutionBackwardBias(cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t dy_of,
    const void* dy, const void* beta, const cudnnTensorDescriptor_t db_of, void* db) {
  const char* who = __func__;
  emulation::count(who);
  if (!handle || dy_of->n < 1 || dy_of->type != db_of->type || db_of->n != 1 || db_of->c != dy_of->c || db_of->h != 1 ||
      db_of->w != 1) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  return by_type(dy_of->type, [&](auto zero) {
    typedef decltype(zero) T;
    const View<const T> maps(who, "dy", *dy_of, dy);
    const View<T> biases(who, "db", *db_of, db);
    std::vector<double> sums(db_of->extent());
    maps.each([&](int n, int c, int h, int w) { sums[db_of->offset(0, c, 0, 0)] += maps(n, c, h, w); });
    return write(biases, sums, alpha, beta);
  });
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t, const cudnnTensorDescriptor_t x,
    const cudnnFilterDescriptor_t w, const cudnnConvolutionDescriptor_t convolution, const cudnnTensorDescriptor_t y,
    int wanted, int* returned, cudnnConvolutionFwdAlgoPerf_t* results) {
  return rank(Problem{*x, *w, *convolution, *y}, true, kWorkspace, wanted, returned, results);
}
cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t, const cudnnFilterDescriptor_t w,
    const cudnnTensorDescriptor_t dy, const cudnnConvolutionDescriptor_t convolution, const cudnnTensorDescriptor_t dx,
    int wanted, int* returned, cudnnConvolutionBwdDataAlgoPerf_t* results) {
  return rank(Problem{*dx, *w, *convolution, *dy}, false, kWorkspace, wanted, returned, results);
}
cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t, const cudnnTensorDescriptor_t x,
    const cudnnTensorDescriptor_t dy, const cudnnConvolutionDescriptor_t convolution, const cudnnFilterDescriptor_t dw,
    int wanted, int* returned, cudnnConvolutionBwdFilterAlgoPerf_t* results) {
  return rank(Problem{*x, *dw, *convolution, *dy}, false, kWorkspace, wanted, returned, results);
}
cudnnStatus_t cudnnFindConvolutionForwardAlgorithmEx(cudnnHandle_t, const cudnnTensorDescriptor_t x_of, const void* x,
    const cudnnFilterDescriptor_t w_of, const void* w, const cudnnConvolutionDescriptor_t convolution,
    const cudnnTensorDescriptor_t y_of, void* y, int wanted, int* returned, cudnnConvolutionFwdAlgoPerf_t* results,
    void* workspace, size_t bytes) {
  return search(__func__, Problem{*x_of, *w_of, *convolution, *y_of}, true, *x_of, x, *w_of, w, *y_of, y, wanted,
                returned, results, workspace, bytes);
}
cudnnStatus_t cudnnFindConvolutionBackwardDataAlgorithmEx(cudnnHandle_t, const cudnnFilterDescriptor_t w_of,
    const void* w, const cudnnTensorDescriptor_t dy_of, const void* dy, const cudnnConvolutionDescriptor_t convolution,
    const cudnnTensorDescriptor_t dx_of, void* dx, int wanted, int* returned,
    cudnnConvolutionBwdDataAlgoPerf_t* results, void* workspace, size_t bytes) {
  return search(__func__, Problem{*dx_of, *w_of, *convolution, *dy_of}, false, *w_of, w, *dy_of, dy, *dx_of, dx, wanted,
                returned, results, workspace, bytes);
}
cudnnStatus_t cudnnFindConvolutionBackwardFilterAlgorithmEx(cudnnHandle_t, const cudnnTensorDescriptor_t x_of,
    const void* x, const cudnnTensorDescriptor_t dy_of, const void* dy, const cudnnConvolutionDescriptor_t convolution,
    const cudnnFilterDescriptor_t dw_of, void* dw, int wanted, int* returned,
    cudnnConvolutionBwdFilterAlgoPerf_t* results, void* workspace, size_t bytes) {
  return search(__func__, Problem{*x_of, *dw_of, *convolution, *dy_of}, false, *x_of, x, *dy_of, dy, *dw_of, dw, wanted,
                returned, results, workspace, bytes);
}
cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t x,
    const cudnnFilterDescriptor_t w, const cudnnConvolutionDescriptor_t convolution, const cudnnTensorDescriptor_t y,
    cudnnConvolutionFwdAlgo_t algorithm, size_t* bytes) {
  return workspace_of(Problem{*x, *w, *convolution, *y}, algorithm, bytes);
}
cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t, const cudnnFilterDescriptor_t w,
    const cudnnTensorDescriptor_t dy, const cudnnConvolutionDescriptor_t convolution, const cudnnTensorDescriptor_t dx,
    cudnnConvolutionBwdDataAlgo_t algorithm, size_t* bytes) {
  return workspace_of(Problem{*dx, *w, *convolution, *dy}, algorithm, bytes);
}
cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t x,
    const cudnnTensorDescriptor_t dy, const cudnnConvolutionDescriptor_t convolution, const cudnnFilterDescriptor_t dw,
    cudnnConvolutionBwdFilterAlgo_t algorithm, size_t* bytes) {
  return workspace_of(Problem{*x, *dw, *convolution, *dy}, algorithm, bytes);
}
