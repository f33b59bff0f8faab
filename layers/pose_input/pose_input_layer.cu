#include <vector>

#include "caffe/layers/pose_input_layer.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

/// A thread is one of the n = F h w pixels of the top, in all four planes. rows (h, 2) and columns (w, 2) are the neighbours
/// in the bottom, -1 beside the box.
template <typename Dtype>
__global__ void PoseInputForward(const int n, const Dtype* frames, const int* rows, const int* columns,
    const Dtype* y_weights, const Dtype* x_weights, const Dtype* centre, const int H, const int W, const int h, const int w,
    const Dtype factor, const Dtype offset_blue, const Dtype offset_green, const Dtype offset_red, const Dtype fill,
    Dtype* planes) {
  CUDA_KERNEL_LOOP(i, n) {
    const int x = i % w, y = i / w % h, f = i / (w * h);
    const int left = columns[2 * x], right = columns[2 * x + 1];
    const Dtype offset[] = {offset_blue, offset_green, offset_red};
    Dtype* out = planes + f * 4 * h * w + y * w + x;
    for (int c = 0; c < 3; ++c) {
      if (rows[2 * y] < 0 || left < 0) {
        out[c * h * w] = fill;
        continue;
      }
      const Dtype* low = frames + ((f * 3 + c) * H + rows[2 * y]) * W;
      const Dtype* high = frames + ((f * 3 + c) * H + rows[2 * y + 1]) * W;
      out[c * h * w] = offset[c] + factor * (
          y_weights[2 * y] * (x_weights[2 * x] * low[left] + x_weights[2 * x + 1] * low[right]) +
          y_weights[2 * y + 1] * (x_weights[2 * x] * high[left] + x_weights[2 * x + 1] * high[right]));
    }
    out[3 * h * w] = centre[y * w + x];
  }
}

/// What reader i of an axis has of pixel `at`, which may be both of its neighbours.
template <typename Dtype>
__device__ inline Dtype WeightIn(const int* neighbours, const Dtype* weights, const int i, const int at) {
  return (neighbours[2 * i] == at ? weights[2 * i] : 0) + (neighbours[2 * i + 1] == at ? weights[2 * i + 1] : 0);
}

/// A thread is one of the n = F 3 H W values of the bottom, and gathers from the pixels of the top that read it.
template <typename Dtype>
__global__ void PoseInputBackward(const int n, const Dtype* planes_diff, const int* rows, const int* columns,
    const Dtype* y_weights, const Dtype* x_weights, const int* y_readers, const int* x_readers, const int H, const int W,
    const int h, const int w, const Dtype factor, Dtype* diff) {
  CUDA_KERNEL_LOOP(i, n) {
    const int column = i % W, row = i / W % H, c = i / (W * H) % 3, f = i / (W * H * 3);
    const Dtype* plane = planes_diff + (f * 4 + c) * h * w;
    Dtype sum = 0;
    for (int y = y_readers[2 * row]; y < y_readers[2 * row + 1]; ++y) {
      Dtype line = 0;
      for (int x = x_readers[2 * column]; x < x_readers[2 * column + 1]; ++x) {
        line += WeightIn(columns, x_weights, x, column) * plane[y * w + x];
      }
      sum += WeightIn(rows, y_weights, y, row) * line;
    }
    diff[i] = factor * sum;
  }
}

template <typename Dtype>
void PoseInputLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int h = top[0]->height(), w = top[0]->width(), n = bottom[0]->num() * h * w;
  if (n == 0) {
    return;
  }
  // NOLINT_NEXT_LINE(whitespace/operators)
  PoseInputForward<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(
      n, bottom[0]->gpu_data(), rows_.neighbours.gpu_data(), columns_.neighbours.gpu_data(), rows_.weights.gpu_data(),
      columns_.weights.gpu_data(), centre_.gpu_data(), bottom[0]->height(), bottom[0]->width(), h, w, factor_,
      offset_[0], offset_[1], offset_[2], fill_, top[0]->mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void PoseInputLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const int n = bottom[0]->count();
  if (!propagate_down[0] || n == 0) {
    return;
  }
  // NOLINT_NEXT_LINE(whitespace/operators)
  PoseInputBackward<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(
      n, top[0]->gpu_diff(), rows_.neighbours.gpu_data(), columns_.neighbours.gpu_data(), rows_.weights.gpu_data(),
      columns_.weights.gpu_data(), rows_.readers.gpu_data(), columns_.readers.gpu_data(), bottom[0]->height(),
      bottom[0]->width(), top[0]->height(), top[0]->width(), factor_, bottom[0]->mutable_gpu_diff());
  CUDA_POST_KERNEL_CHECK;
}

INSTANTIATE_LAYER_GPU_FUNCS(PoseInputLayer);

}  // namespace caffe
