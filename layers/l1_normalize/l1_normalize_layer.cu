#include <vector>

#include "caffe/layers/l1_normalize_layer.hpp"
#include "caffe/util/block_sum.cuh"

namespace caffe {

/// y = a / n, n = eps + sum |a| over a video's map of T R scores. Block v, of kBlockSumThreads, makes video v.
template <typename Dtype>
__global__ void L1NormalizeForward(const int map, const Dtype eps, const Dtype* a, Dtype* y, Dtype* norms) {
  const int first = blockIdx.x * map;
  Dtype sum = 0;
  for (int i = threadIdx.x; i < map; i += blockDim.x) {
    sum += fabs(a[first + i]);
  }
  const Dtype norm = block_sum(sum) + eps;
  for (int i = threadIdx.x; i < map; i += blockDim.x) {
    y[first + i] = (1 / norm) * a[first + i];
  }
  if (threadIdx.x == 0) {
    norms[blockIdx.x] = norm;
  }
}

/// The gradient da of the scores, of the gradient g of y. Block v makes video v.
template <typename Dtype>
__global__ void L1NormalizeBackward(const int map, const Dtype* a, const Dtype* y, const Dtype* g, const Dtype* norms,
    Dtype* da) {
  const int first = blockIdx.x * map;
  Dtype along = 0;
  for (int i = threadIdx.x; i < map; i += blockDim.x) {
    along += g[first + i] * y[first + i];
  }
  along = block_sum(along);
  for (int i = threadIdx.x; i < map; i += blockDim.x) {
    const Dtype score = a[first + i];
    da[first + i] = (g[first + i] - ((score > 0) - (score < 0)) * along) / norms[blockIdx.x];
  }
}

template <typename Dtype>
void L1NormalizeLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int V = norm_.count();
  if (V == 0) {
    return;
  }
  // NOLINT_NEXT_LINE(whitespace/operators)
  L1NormalizeForward<Dtype><<<V, kBlockSumThreads>>>(bottom[0]->count() / V,
      this->layer_param_.l1_normalize_param().eps(), bottom[0]->gpu_data(), top[0]->mutable_gpu_data(),
      norm_.mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void L1NormalizeLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const int V = norm_.count();
  if (!propagate_down[0] || V == 0) {
    return;
  }
  // NOLINT_NEXT_LINE(whitespace/operators)
  L1NormalizeBackward<Dtype><<<V, kBlockSumThreads>>>(bottom[0]->count() / V, bottom[0]->gpu_data(),
      top[0]->gpu_data(), top[0]->gpu_diff(), norm_.gpu_data(), bottom[0]->mutable_gpu_diff());
  CUDA_POST_KERNEL_CHECK;
}

INSTANTIATE_LAYER_GPU_FUNCS(L1NormalizeLayer);

}  // namespace caffe
