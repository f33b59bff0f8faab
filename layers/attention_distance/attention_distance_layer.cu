#include <vector>

#include "caffe/layers/attention_distance_layer.hpp"
#include "caffe/util/pair_distance.cuh"

namespace caffe {

/// ||a|| of the R weights of a video.
template <typename Dtype>
__device__ inline Dtype weight_norm(int R, const Dtype* a, bool l1) {
  Dtype sum = 0;
  for (int r = 0; r < R; ++r) {
    sum += l1 ? fabs(a[r]) : a[r] * a[r];
  }
  return l1 ? sum : sqrt(sum);
}

/**
 * @brief psi (V x V) of the parts f (V x R x C) and the weights a (V x R), and what Backward reads: d (R x V x V),
 *        w (V x R), norms (V). Block i V + j makes the pair (i, j), those with j > i nothing.
 *
 * The parts of a pair come one behind the other, so that psi needs no launch of its own.
 */
template <typename Dtype>
__global__ void AttentionDistanceForward(const int V, const int R, const int C, const Dtype* f, const Dtype* a,
    const bool l1, const bool spatial, Dtype* d, Dtype* w, Dtype* norms, Dtype* psi) {
  const int i = blockIdx.x / V, j = blockIdx.x % V;
  if (j > i) {
    return;
  }
  const Dtype norm_i = spatial ? weight_norm(R, a + i * R, l1) : Dtype(0);
  const Dtype norm_j = spatial ? weight_norm(R, a + j * R, l1) : Dtype(0);
  const Dtype equal = l1 ? Dtype(1) / R : 1 / sqrt(Dtype(R));
  Dtype sum = 0;
  for (int r = 0; r < R; ++r) {
    const Dtype w_i = norm_i > 0 ? a[i * R + r] / norm_i : equal;
    const Dtype w_j = norm_j > 0 ? a[j * R + r] / norm_j : equal;
    const Dtype distance = i == j ? Dtype(0) : sqrt(pair_square(C, f + (i * R + r) * C, f + (j * R + r) * C));
    sum += w_i * w_j * distance;
    if (threadIdx.x == 0) {
      d[(r * V + i) * V + j] = d[(r * V + j) * V + i] = distance;
      if (i == j) {
        w[i * R + r] = w_i;
      }
    }
  }
  if (threadIdx.x == 0) {
    psi[i * V + j] = psi[j * V + i] = sum;
    if (i == j) {
      norms[i] = norm_i;
    }
  }
}

/// The gradient da (V x R) of the weights a; g (V x V) is the one of psi. Block i makes video i, a thread a part.
template <typename Dtype>
__global__ void AttentionDistanceWeightsBackward(const int V, const int R, const Dtype* g, const Dtype* a,
    const Dtype* w, const Dtype* norms, const Dtype* d, const bool l1, const bool paper, Dtype* da) {
  const int i = blockIdx.x;
  const Dtype norm = norms[i];
  Dtype along = 0, total = 0;
  for (int r = threadIdx.x; r < R; r += blockDim.x) {
    Dtype omega = 0;  // dL / dw_i^r
    for (int j = 0; j < V; ++j) {
      omega += (g[i * V + j] + g[j * V + i]) * w[j * R + r] * d[(r * V + i) * V + j];
    }
    da[i * R + r] = omega;
    along += omega * w[i * R + r];
    total += omega;
  }
  along = block_sum(along);
  total = block_sum(total);
  for (int r = threadIdx.x; r < R; r += blockDim.x) {
    const Dtype a_i = a[i * R + r], w_i = w[i * R + r], omega = da[i * R + r];
    if (norm == 0) {
      da[i * R + r] = 0;
    } else if (paper) {
      da[i * R + r] = total * (1 - w_i) / norm;
    } else {
      da[i * R + r] = (omega - (l1 ? Dtype((a_i > 0) - (a_i < 0)) : w_i) * along) / norm;
    }
  }
}

template <typename Dtype>
void AttentionDistanceLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const AttentionDistanceParameter& param = this->layer_param_.attention_distance_param();
  const int V = bottom[0]->shape(0), R = bottom[0]->shape(1), C = bottom[0]->shape(2);
  if (V == 0) {
    return;
  }
  const Dtype* f = bottom[0]->gpu_data();
  if (UnitFeatures()) {
    // NOLINT_NEXT_LINE(whitespace/operators)
    UnitRowsForward<Dtype><<<V * R, kBlockSumThreads>>>(C, f, unit_.mutable_gpu_data(),
        feature_norm_.mutable_gpu_data());
    CUDA_POST_KERNEL_CHECK;
    f = unit_.gpu_data();
  }
  // NOLINT_NEXT_LINE(whitespace/operators)
  AttentionDistanceForward<Dtype><<<V * V, kBlockSumThreads>>>(V, R, C, f, bottom[1]->gpu_data(),
      param.norm() == AttentionDistanceParameter_Norm_L1, param.spatial(), distance_.mutable_gpu_data(),
      weight_.mutable_gpu_data(), weight_norm_.mutable_gpu_data(), top[0]->mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void AttentionDistanceLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const AttentionDistanceParameter& param = this->layer_param_.attention_distance_param();
  const int V = bottom[0]->shape(0), R = bottom[0]->shape(1), C = bottom[0]->shape(2);
  if (V == 0) {
    return;
  }
  if (propagate_down[0]) {
    const bool unit = UnitFeatures(), squared = false;
    // NOLINT_NEXT_LINE(whitespace/operators)
    PairRowsBackward<Dtype><<<V * R, kBlockSumThreads>>>(V, R, C, unit ? unit_.gpu_data() : bottom[0]->gpu_data(),
        distance_.gpu_data(), top[0]->gpu_diff(), weight_.gpu_data(), unit ? feature_norm_.gpu_data() : NULL, squared,
        bottom[0]->mutable_gpu_diff());
    CUDA_POST_KERNEL_CHECK;
  }
  if (propagate_down[1]) {
    // NOLINT_NEXT_LINE(whitespace/operators)
    AttentionDistanceWeightsBackward<Dtype><<<V, kBlockSumThreads>>>(V, R, top[0]->gpu_diff(), bottom[1]->gpu_data(),
        weight_.gpu_data(), weight_norm_.gpu_data(), distance_.gpu_data(),
        param.norm() == AttentionDistanceParameter_Norm_L1, param.gradient() == PAPER, bottom[1]->mutable_gpu_diff());
    CUDA_POST_KERNEL_CHECK;
  }
}

INSTANTIATE_LAYER_GPU_FUNCS(AttentionDistanceLayer);

}  // namespace caffe
