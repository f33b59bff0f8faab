#include <vector>

#include "caffe/layers/pairwise_distance_layer.hpp"
#include "caffe/util/pair_distance.cuh"

namespace caffe {

/// d (V x V) between the rows of g (V x C). Block i V + j makes d_{ij} and d_{ji}, those with j > i nothing.
template <typename Dtype>
__global__ void PairwiseDistanceForward(const int V, const int C, const Dtype* g, const bool squared, Dtype* d) {
  const int i = blockIdx.x / V, j = blockIdx.x % V;
  if (j > i) {
    return;
  }
  const Dtype square = i == j ? Dtype(0) : pair_square(C, g + i * C, g + j * C);
  if (threadIdx.x == 0) {
    d[i * V + j] = d[j * V + i] = squared ? square : sqrt(square);
  }
}

template <typename Dtype>
void PairwiseDistanceLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int V = bottom[0]->shape(0), C = bottom[0]->count(1);
  if (V == 0) {
    return;
  }
  const Dtype* g = bottom[0]->gpu_data();
  if (UnitFeatures()) {
    // NOLINT_NEXT_LINE(whitespace/operators)
    UnitRowsForward<Dtype><<<V, kBlockSumThreads>>>(C, g, unit_.mutable_gpu_data(), feature_norm_.mutable_gpu_data());
    CUDA_POST_KERNEL_CHECK;
    g = unit_.gpu_data();
  }
  // NOLINT_NEXT_LINE(whitespace/operators)
  PairwiseDistanceForward<Dtype><<<V * V, kBlockSumThreads>>>(V, C, g,
      this->layer_param_.pairwise_distance_param().squared(), top[0]->mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void PairwiseDistanceLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const int V = bottom[0]->shape(0), C = bottom[0]->count(1);
  if (!propagate_down[0] || V == 0) {
    return;
  }
  const bool unit = UnitFeatures();
  const Dtype* weights = NULL;
  // NOLINT_NEXT_LINE(whitespace/operators)
  PairRowsBackward<Dtype><<<V, kBlockSumThreads>>>(V, 1, C, unit ? unit_.gpu_data() : bottom[0]->gpu_data(),
      top[0]->gpu_data(), top[0]->gpu_diff(), weights, unit ? feature_norm_.gpu_data() : NULL,
      this->layer_param_.pairwise_distance_param().squared(), bottom[0]->mutable_gpu_diff());
  CUDA_POST_KERNEL_CHECK;
}

INSTANTIATE_LAYER_GPU_FUNCS(PairwiseDistanceLayer);

}  // namespace caffe
