#include <algorithm>
#include <vector>

#include "caffe/layers/consistency_loss_layer.hpp"
#include "caffe/util/block_max.cuh"
#include "caffe/util/block_sum.cuh"
#include "caffe/util/part_products.cuh"
#include "caffe/util/refusal.hpp"

namespace caffe {

/**
 * @brief Turns the logits (R x rows x K) in p into the softmax, and gives each row's loss and factor in the loss
 *        (R x rows) and, with scores a (rows x R, else NULL), the video's score_sum (R x V). T rows share a label; scale
 *        is what all factors have in common. Block r rows + row, of kBlockSumThreads, makes a row.
 *
 * A label that is none of 0 .. K - 1 makes the row's loss and factor NaN.
 */
template <typename Dtype>
__global__ void ConsistencyLossRows(const int R, const int rows, const int K, const int T, const Dtype scale,
    const Dtype* label, const Dtype* a, Dtype* p, Dtype* row_loss, Dtype* factor, Dtype* score_sum) {
  const int r = blockIdx.x / rows, row = blockIdx.x % rows, v = row / T;
  const Dtype y = label[v];
  const bool known = y >= 0 && y < K && y == floor(y);
  p += blockIdx.x * K;
  const Dtype logit = known ? p[static_cast<int>(y)] : Dtype(nan(""));  // block_max is between this and the writing of p
  Dtype largest = p[0];
  for (int k = threadIdx.x; k < K; k += blockDim.x) {
    largest = fmax(largest, p[k]);
  }
  largest = block_max(largest);
  Dtype sum = 0;
  for (int k = threadIdx.x; k < K; k += blockDim.x) {
    p[k] = exp(p[k] - largest);
    sum += p[k];
  }
  sum = block_sum(sum);
  for (int k = threadIdx.x; k < K; k += blockDim.x) {
    p[k] *= 1 / sum;
  }
  if (threadIdx.x != 0) {
    return;
  }
  row_loss[blockIdx.x] = log(sum) + largest - logit;
  Dtype share = 1;
  if (a != NULL) {
    Dtype scores = 0;
    for (int t = 0; t < T; ++t) {
      scores += a[(v * T + t) * R + r];
    }
    share = scores > 0 ? a[row * R + r] / scores : Dtype(1) / T;
    if (row % T == 0) {
      score_sum[r * (rows / T) + v] = scores > 0 ? scores : Dtype(0);
    }
  }
  factor[blockIdx.x] = known ? scale * share : Dtype(nan(""));
}

/// The loss: the sum of n row losses times their factors. One block of kBlockSumThreads.
template <typename Dtype>
__global__ void ConsistencyLossTotal(const int n, const Dtype* row_loss, const Dtype* factor, Dtype* loss) {
  Dtype sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    sum += factor[i] * row_loss[i];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    loss[0] = sum;
  }
}

/// The gradient of the logits, n = R rows K values, of the softmax p. A thread makes one.
template <typename Dtype>
__global__ void ConsistencyLossLogitDiff(const int n, const int rows, const int K, const int T, const Dtype* loss_weight,
    const Dtype* label, const Dtype* factor, const Dtype* p, Dtype* logit_diff) {
  CUDA_KERNEL_LOOP(index, n) {
    const int k = index % K, part_row = index / K;
    const Dtype target = label[part_row % rows / T] == k ? 1 : 0;
    logit_diff[index] = loss_weight[0] * factor[part_row] * (p[index] - target);
  }
}

/// The gradient da of the scores a (rows x R), n = rows R; scale is as in ConsistencyLossRows. A thread makes one.
template <typename Dtype>
__global__ void ConsistencyLossScoreDiff(const int n, const int R, const int T, const Dtype scale,
    const Dtype* loss_weight, const Dtype* a, const Dtype* row_loss, const Dtype* score_sum, Dtype* da) {
  CUDA_KERNEL_LOOP(index, n) {
    const int rows = n / R, r = index % R, row = index / R, v = row / T;
    const Dtype scores = score_sum[r * (rows / T) + v];
    Dtype average = 0;  // of the row losses, by the scores
    for (int t = 0; t < T; ++t) {
      average += a[(v * T + t) * R + r] * row_loss[r * rows + v * T + t];
    }
    da[index] = scores > 0 ? loss_weight[0] * scale * (row_loss[r * rows + row] - average / scores) / scores : Dtype(0);
  }
}

namespace {

/// The matrices of the parts from `first` on in a contiguous array, each rows x columns; or their transposes.
template <typename Dtype>
PartMatrices<Dtype> Matrices(Dtype* values, int rows, int columns, int first, int number, bool transposed = false) {
  PartMatrices<Dtype> matrices;
  for (int k = 0; k < number; ++k) {
    matrices.of.part[k] = values + (first + k) * rows * columns;
  }
  matrices.row = transposed ? 1 : columns;
  matrices.column = transposed ? columns : 1;
  return matrices;
}

}  // namespace

template <typename Dtype>
void ConsistencyLossLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  if (bottom[label_]->data()->head() != SyncedMemory::HEAD_AT_GPU) {
    RequireLabels(bottom[label_]->cpu_data());
  }
  const bool aggregated = input_ == ConsistencyLossParameter_Input_AGGREGATED;
  const bool weighted = input_ == ConsistencyLossParameter_Input_WEIGHTED_FRAMES;
  for (int first = 0; first < R_; first += kPartsPerLaunch) {
    const int number = std::min(R_ - first, kPartsPerLaunch);
    PartMatrices<const Dtype> f;  // each rows x C
    f.row = aggregated ? R_ * C_ : C_;
    f.column = 1;
    for (int k = 0; k < number; ++k) {
      const int r = first + k;
      f.of.part[k] = aggregated ? bottom[0]->gpu_data() + r * C_ : bottom[r]->gpu_data();
    }
    if (rows_ > 0) {
      // NOLINT_NEXT_LINE(whitespace/operators)
      PartProducts<Dtype><<<PartProductsBlocks(number, rows_, K_), kProductThreads>>>(rows_, K_, C_, f,
          Matrices(this->blobs_[0]->gpu_data(), K_, C_, first, number, true),
          Matrices(probability_.mutable_gpu_data(), rows_, K_, first, number), false);
      CUDA_POST_KERNEL_CHECK;
    }
  }
  if (rows_ > 0) {
    // NOLINT_NEXT_LINE(whitespace/operators)
    ConsistencyLossRows<Dtype><<<R_ * rows_, kBlockSumThreads>>>(R_, rows_, K_, T_, Scale(), bottom[label_]->gpu_data(),
        weighted ? bottom[R_ + 1]->gpu_data() : NULL, probability_.mutable_gpu_data(), row_loss_.mutable_gpu_data(),
        factor_.mutable_gpu_data(), score_sum_.mutable_gpu_data());
    CUDA_POST_KERNEL_CHECK;
  }
  // NOLINT_NEXT_LINE(whitespace/operators)
  ConsistencyLossTotal<Dtype><<<1, kBlockSumThreads>>>(R_ * rows_, row_loss_.gpu_data(), factor_.gpu_data(),
      top[0]->mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void ConsistencyLossLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  LAYER_REQUIRE(!propagate_down[label_]) << "a label has no gradient";
  if (rows_ == 0) {
    return;
  }
  const bool aggregated = input_ == ConsistencyLossParameter_Input_AGGREGATED;
  const Dtype* loss_weight = top[0]->gpu_diff();
  const int n = R_ * rows_ * K_;
  // NOLINT_NEXT_LINE(whitespace/operators)
  ConsistencyLossLogitDiff<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(n, rows_, K_, T_, loss_weight,
      bottom[label_]->gpu_data(), factor_.gpu_data(), probability_.gpu_data(), probability_.mutable_gpu_diff());
  CUDA_POST_KERNEL_CHECK;
  const Dtype* logit_diff = probability_.gpu_diff();
  for (int first = 0; first < R_; first += kPartsPerLaunch) {
    const int number = std::min(R_ - first, kPartsPerLaunch);
    PartMatrices<const Dtype> f;  // each rows x C
    PartMatrices<Dtype> df;
    f.row = df.row = aggregated ? R_ * C_ : C_;
    f.column = df.column = 1;
    bool features_down = false;
    for (int k = 0; k < number; ++k) {
      const int r = first + k, i = aggregated ? 0 : r, offset = aggregated ? r * C_ : 0;
      f.of.part[k] = bottom[i]->gpu_data() + offset;
      df.of.part[k] = propagate_down[i] ? bottom[i]->mutable_gpu_diff() + offset : NULL;
      features_down |= propagate_down[i];
    }
    if (this->param_propagate_down_[0]) {
      // NOLINT_NEXT_LINE(whitespace/operators)
      PartProducts<Dtype><<<PartProductsBlocks(number, K_, C_), kProductThreads>>>(K_, C_, rows_,
          Matrices(logit_diff, rows_, K_, first, number, true), f,
          Matrices(this->blobs_[0]->mutable_gpu_diff(), K_, C_, first, number), true);
      CUDA_POST_KERNEL_CHECK;
    }
    if (features_down) {
      // NOLINT_NEXT_LINE(whitespace/operators)
      PartProducts<Dtype><<<PartProductsBlocks(number, rows_, C_), kProductThreads>>>(rows_, C_, K_,
          Matrices(logit_diff, rows_, K_, first, number),
          Matrices(this->blobs_[0]->gpu_data(), K_, C_, first, number), df, false);
      CUDA_POST_KERNEL_CHECK;
    }
  }
  if (input_ == ConsistencyLossParameter_Input_WEIGHTED_FRAMES && propagate_down[R_ + 1]) {
    const int scores = rows_ * R_;
    // NOLINT_NEXT_LINE(whitespace/operators)
    ConsistencyLossScoreDiff<Dtype><<<CAFFE_GET_BLOCKS(scores), CAFFE_CUDA_NUM_THREADS>>>(scores, R_, T_, Scale(),
        loss_weight, bottom[R_ + 1]->gpu_data(), row_loss_.gpu_data(), score_sum_.gpu_data(),
        bottom[R_ + 1]->mutable_gpu_diff());
    CUDA_POST_KERNEL_CHECK;
  }
}

INSTANTIATE_LAYER_GPU_FUNCS(ConsistencyLossLayer);

}  // namespace caffe
