#include <algorithm>
#include <vector>

#include "caffe/layers/attention_pooling_layer.hpp"
#include "caffe/util/block_sum.cuh"
#include "caffe/util/part_pointers.cuh"

namespace caffe {

/**
 * @brief parts (V x R x C) of the scores a (F x R) and the features, each F x C, of the `number` parts from `first` on;
 *        also weights and sums (V x R) and fraction (F x R). A thread makes a value of parts.
 */
template <typename Dtype>
__global__ void AttentionPoolingForward(const int n, const int first, const int number, const int R, const int C,
    const int T, const bool temporal, const Dtype* a, const PartPointers<const Dtype> features, Dtype* parts,
    Dtype* weights, Dtype* sums, Dtype* fraction) {
  CUDA_KERNEL_LOOP(index, n) {
    const int c = index % C, local = index / C % number, r = first + local, v = index / C / number;
    Dtype sum = 0;
    for (int t = 0; t < T; ++t) {
      sum += a[(v * T + t) * R + r];
    }
    const bool by_score = temporal && sum > 0;
    Dtype value = 0;
    for (int t = 0; t < T; ++t) {
      const int row = v * T + t;
      const Dtype share = by_score ? a[row * R + r] / sum : Dtype(1) / T;
      value += share * features.part[local][row * C + c];
      if (c == 0) {
        fraction[row * R + r] = share;
      }
    }
    parts[(v * R + r) * C + c] = value;
    if (c == 0) {
      weights[v * R + r] = sum / T;
      sums[v * R + r] = by_score ? sum : Dtype(0);
    }
  }
}

/**
 * @brief The gradients df (each F x C, or NULL) of the features of the `number` parts from `first` on, and da (F x R, or
 *        NULL) of their scores; p (V x R x C) and w (V x R) are those of parts and weights. Block row * number + k, of
 *        kBlockSumThreads, makes frame `row` of part first + k.
 */
template <typename Dtype>
__global__ void AttentionPoolingBackward(const int first, const int number, const int R, const int C, const int T,
    const bool paper, const Dtype* p, const Dtype* w, const Dtype* parts, const Dtype* sums, const Dtype* fraction,
    const PartPointers<const Dtype> features, const PartPointers<Dtype> df, Dtype* da) {
  const int local = blockIdx.x % number, r = first + local, row = blockIdx.x / number;
  const int part = (row / T) * R + r;
  const Dtype share = fraction[row * R + r], sum = sums[part];
  Dtype along = 0;  // p (f - parts)
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    const Dtype slope = p[part * C + c];
    if (df.part[local] != NULL) {
      df.part[local][row * C + c] = share * slope;
    }
    if (da != NULL && sum > 0) {
      along += slope * (features.part[local][row * C + c] - parts[part * C + c]);
    }
  }
  if (da != NULL) {
    along = block_sum(along);
    if (threadIdx.x == 0) {
      da[row * R + r] = (paper ? w[part] : w[part] / T) + (sum > 0 ? along / sum : Dtype(0));
    }
  }
}

template <typename Dtype>
void AttentionPoolingLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int V = top[0]->shape(0), R = top[0]->shape(1), C = top[0]->shape(2);
  for (int first = 0; first < R; first += kPartsPerLaunch) {
    const int number = std::min(R - first, kPartsPerLaunch), n = V * number * C;
    if (n == 0) {
      return;
    }
    PartPointers<const Dtype> features = {};
    for (int k = 0; k < number; ++k) {
      features.part[k] = bottom[1 + first + k]->gpu_data();
    }
    // NOLINT_NEXT_LINE(whitespace/operators)
    AttentionPoolingForward<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(n, first, number, R, C, frames_,
        this->layer_param_.attention_pooling_param().temporal(), bottom[0]->gpu_data(), features,
        top[0]->mutable_gpu_data(), top[1]->mutable_gpu_data(), sum_.mutable_gpu_data(), fraction_.mutable_gpu_data());
    CUDA_POST_KERNEL_CHECK;
  }
}

template <typename Dtype>
void AttentionPoolingLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const int F = bottom[0]->shape(0), R = top[0]->shape(1), C = top[0]->shape(2);
  if (F == 0 || std::find(propagate_down.begin(), propagate_down.end(), true) == propagate_down.end()) {
    return;
  }
  for (int first = 0; first < R; first += kPartsPerLaunch) {
    const int number = std::min(R - first, kPartsPerLaunch);
    PartPointers<const Dtype> features = {};
    PartPointers<Dtype> df = {};
    for (int k = 0; k < number; ++k) {
      const int i = 1 + first + k;
      features.part[k] = bottom[i]->gpu_data();
      df.part[k] = propagate_down[i] ? bottom[i]->mutable_gpu_diff() : NULL;
    }
    // NOLINT_NEXT_LINE(whitespace/operators)
    AttentionPoolingBackward<Dtype><<<F * number, kBlockSumThreads>>>(first, number, R, C, frames_,
        this->layer_param_.attention_pooling_param().gradient() == PAPER, top[0]->gpu_diff(), top[1]->gpu_diff(),
        top[0]->gpu_data(), sum_.gpu_data(), fraction_.gpu_data(), features, df,
        propagate_down[0] ? bottom[0]->mutable_gpu_diff() : NULL);
    CUDA_POST_KERNEL_CHECK;
  }
}

INSTANTIATE_LAYER_GPU_FUNCS(AttentionPoolingLayer);

}  // namespace caffe
