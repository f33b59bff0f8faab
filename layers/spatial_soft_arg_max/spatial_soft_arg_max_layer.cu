#include <vector>

#include "caffe/layers/spatial_soft_arg_max_layer.hpp"
#include "caffe/util/block_sum.cuh"
#include "caffe/util/math_functions.hpp"

namespace caffe {

/// Threads a block: a warp, as maps are small, joints many and the sums then need no waiting.
const int kThreadsOfJoint = 32;

/// The first of the map's highest cells, in every thread of the warp, each of which must call it.
template <typename Dtype>
__device__ int FirstHighest(const Dtype* map, const int cells) {
  int first = 0;  // all start from cell 0: if it is NaN nothing is above it, other NaNs are above nothing
  Dtype highest = map[0];
  for (int i = threadIdx.x; i < cells; i += kThreadsOfJoint) {
    if (highest < map[i]) {
      highest = map[i];
      first = i;
    }
  }
  for (int offset = kThreadsOfJoint / 2; offset > 0; offset /= 2) {
    const Dtype value = __shfl_xor_sync(0xffffffff, highest, offset);
    const int cell = __shfl_xor_sync(0xffffffff, first, offset);
    if (highest < value || (value == highest && cell < first)) {
      highest = value;
      first = cell;
    }
  }
  return first;
}

/// The input pixel at which a cell of an axis lies.
template <typename Dtype>
__device__ inline Dtype PixelOf(const int cell, const Dtype stride) {
  return cell * stride + (stride - 1) / 2;
}

/// A block is joint j of frame f, block f J + j. `probability` is (F, J, h, w), or NULL for ARG_MAX.
template <typename Dtype>
__global__ void SpatialSoftArgMaxForward(const Dtype* maps, const int* channels, const int C, const int J,
    const int cells, const int w, const Dtype stride, const Dtype beta, Dtype* joints, Dtype* probability) {
  const Dtype* map = maps + (blockIdx.x / J * C + channels[blockIdx.x % J]) * cells;
  const int best = FirstHighest(map, cells);
  Dtype* joint = joints + blockIdx.x * 3;
  if (threadIdx.x == 0) {
    joint[2] = map[best];
  }
  if (probability == NULL) {
    if (threadIdx.x == 0) {
      joint[0] = PixelOf(best % w, stride);
      joint[1] = PixelOf(best / w, stride);
    }
    return;
  }
  Dtype* p = probability + blockIdx.x * cells;
  Dtype sum = 0, x = 0, y = 0;
  for (int i = threadIdx.x; i < cells; i += blockDim.x) {
    p[i] = exp(beta * (map[i] - map[best]));
    sum += p[i];
    x += p[i] * PixelOf(i % w, stride);
    y += p[i] * PixelOf(i / w, stride);
  }
  sum = block_sum(sum);
  x = block_sum(x);
  y = block_sum(y);
  for (int i = threadIdx.x; i < cells; i += blockDim.x) {
    p[i] *= 1 / sum;
  }
  if (threadIdx.x == 0) {
    joint[0] = x / sum;
    joint[1] = y / sum;
  }
}

/// A thread is one of the n = F C h w cells of the maps. Several joints may read its map, or none.
template <typename Dtype>
__global__ void SpatialSoftArgMaxBackward(const int n, const Dtype* probability, const Dtype* joints,
    const Dtype* joints_diff, const int* channels, const int C, const int J, const int cells, const int w,
    const Dtype stride, const Dtype beta, Dtype* diff) {
  CUDA_KERNEL_LOOP(index, n) {
    const int i = index % cells, channel = index / cells % C, f = index / cells / C;
    Dtype sum = 0;
    for (int j = 0; j < J; ++j) {
      if (channels[j] == channel) {
        const Dtype* joint = joints + (f * J + j) * 3;
        const Dtype* g = joints_diff + (f * J + j) * 3;
        sum += beta * probability[(f * J + j) * cells + i] *
            (g[0] * (PixelOf(i % w, stride) - joint[0]) + g[1] * (PixelOf(i / w, stride) - joint[1]));
      }
    }
    diff[index] = sum;
  }
}

template <typename Dtype>
void SpatialSoftArgMaxLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const SpatialSoftArgMaxParameter& param = this->layer_param_.spatial_soft_arg_max_param();
  const bool soft = param.mode() == SpatialSoftArgMaxParameter_Mode_SOFT;
  const int F = bottom[0]->num(), J = channels_.size();
  if (bottom[0]->count() == 0) {
    return;
  }
  // NOLINT_NEXT_LINE(whitespace/operators)
  SpatialSoftArgMaxForward<Dtype><<<F * J, kThreadsOfJoint>>>(
      bottom[0]->gpu_data(), joint_channels_.gpu_data(), bottom[0]->channels(), J, bottom[0]->count(2),
      bottom[0]->width(), param.stride(), param.beta(), top[0]->mutable_gpu_data(),
      soft ? probability_.mutable_gpu_data() : NULL);
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void SpatialSoftArgMaxLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const SpatialSoftArgMaxParameter& param = this->layer_param_.spatial_soft_arg_max_param();
  const int n = bottom[0]->count();
  if (!propagate_down[0] || n == 0) {
    return;
  }
  if (param.mode() != SpatialSoftArgMaxParameter_Mode_SOFT) {
    caffe_gpu_set(n, Dtype(0), bottom[0]->mutable_gpu_diff());
    return;
  }
  // NOLINT_NEXT_LINE(whitespace/operators)
  SpatialSoftArgMaxBackward<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(
      n, probability_.gpu_data(), top[0]->gpu_data(), top[0]->gpu_diff(), joint_channels_.gpu_data(),
      bottom[0]->channels(), channels_.size(), bottom[0]->count(2), bottom[0]->width(), param.stride(), param.beta(),
      bottom[0]->mutable_gpu_diff());
  CUDA_POST_KERNEL_CHECK;
}

INSTANTIATE_LAYER_GPU_FUNCS(SpatialSoftArgMaxLayer);

}  // namespace caffe
