#include <vector>

#include "caffe/layers/triplet_loss_layer.hpp"
#include "caffe/util/block_sum.cuh"
#include "caffe/util/refusal.hpp"

namespace caffe {

/**
 * @brief The positive and the negative of anchor a for ORDERED and HARD; two -1 for a video that is none.
 * @return whether the labels allow the triplet: false for an ORDERED one that is no (anchor, positive, negative).
 */
template <typename Dtype>
__device__ inline bool choose_triplet(bool hard, int V, int a, const Dtype* d, const Dtype* label, int* positive,
    int* negative) {
  *positive = *negative = -1;
  if (!hard) {
    if (a % 3 == 0) {
      *positive = a + 1;
      *negative = a + 2;
    }
    return a % 3 != 0 || (label[a] == label[a + 1] && label[a] != label[a + 2]);
  }
  for (int i = 0; i < V; ++i) {
    if (i != a && label[i] == label[a]) {
      if (*positive < 0 || d[a * V + i] > d[a * V + *positive]) {
        *positive = i;
      }
    } else if (label[i] != label[a] && (*negative < 0 || d[a * V + i] < d[a * V + *negative])) {
      *negative = i;
    }
  }
  if (*positive < 0 || *negative < 0) {
    *positive = *negative = -1;
  }
  return true;
}

/// Whether a triplet's hinge is open. A NaN is: it must show in the loss.
template <typename Dtype>
__device__ inline bool is_open(Dtype hinge) {
  return !(hinge <= 0);
}

/**
 * @brief The loss of ORDERED and HARD, its normalizer, and each anchor's positive and negative (V x 2). One block of
 *        kBlockSumThreads, a thread an anchor. Labels that ORDERED refuses make the normalizer NaN.
 */
template <typename Dtype>
__global__ void TripletLossForwardChosen(const int V, const bool hard, const bool mean, const Dtype margin,
    const Dtype* d, const Dtype* label, int* chosen, Dtype* normalizer, Dtype* loss) {
  Dtype sum = 0;
  int number = 0, wrong = 0;
  for (int a = threadIdx.x; a < V; a += blockDim.x) {
    int positive, negative;
    wrong += !choose_triplet(hard, V, a, d, label, &positive, &negative);
    chosen[2 * a] = positive;
    chosen[2 * a + 1] = negative;
    if (positive >= 0) {
      const Dtype hinge = d[a * V + positive] - d[a * V + negative] + margin;
      sum += is_open(hinge) ? hinge : Dtype(0);
      ++number;
    }
  }
  sum = block_sum(sum);
  number = block_sum(number);
  wrong = block_sum(wrong);
  if (threadIdx.x == 0) {
    normalizer[0] = wrong > 0 ? Dtype(nan("")) : number == 0 ? Dtype(0) : mean ? Dtype(1) / number : Dtype(1);
    loss[0] = sum * normalizer[0];
  }
}

/// The loss of ALL and its normalizer. One block of kBlockSumThreads, a thread an anchor and a positive.
template <typename Dtype>
__global__ void TripletLossForwardAll(const int V, const bool mean, const Dtype margin, const Dtype* d,
    const Dtype* label, Dtype* normalizer, Dtype* loss) {
  Dtype sum = 0;
  int number = 0;
  for (int pair = threadIdx.x; pair < V * V; pair += blockDim.x) {
    const int a = pair / V, p = pair % V;
    for (int n = 0; n < V && p != a && label[p] == label[a]; ++n) {
      if (label[n] != label[a]) {
        const Dtype hinge = d[pair] - d[a * V + n] + margin;
        sum += is_open(hinge) ? hinge : Dtype(0);
        ++number;
      }
    }
  }
  sum = block_sum(sum);
  number = block_sum(number);
  if (threadIdx.x == 0) {
    normalizer[0] = number == 0 ? Dtype(0) : mean ? Dtype(1) / number : Dtype(1);
    loss[0] = sum * normalizer[0];
  }
}

/// The gradient dd (V x V) of the distances for ORDERED and HARD. A thread makes one of anchor and other video.
template <typename Dtype>
__global__ void TripletLossBackwardChosen(const int V, const Dtype margin, const Dtype* d, const int* chosen,
    const Dtype* normalizer, const Dtype* loss_weight, Dtype* dd) {
  CUDA_KERNEL_LOOP(index, V * V) {
    const int a = index / V, i = index % V, positive = chosen[2 * a], negative = chosen[2 * a + 1];
    Dtype slope = 0;
    if ((i == positive || i == negative) && is_open(d[a * V + positive] - d[a * V + negative] + margin)) {
      slope = loss_weight[0] * normalizer[0] * (i == positive ? 1 : -1);
    }
    dd[index] = slope;
  }
}

/// The gradient dd (V x V) of the distances for ALL: of (a, i) over the triplets that end in it as positive or negative.
template <typename Dtype>
__global__ void TripletLossBackwardAll(const int V, const Dtype margin, const Dtype* d, const Dtype* label,
    const Dtype* normalizer, const Dtype* loss_weight, Dtype* dd) {
  CUDA_KERNEL_LOOP(index, V * V) {
    const int a = index / V, i = index % V;
    const bool positive = label[i] == label[a];
    const Dtype step = loss_weight[0] * normalizer[0] * (positive ? 1 : -1);
    Dtype slope = 0;
    for (int other = 0; other < V && i != a; ++other) {  // the triplet's other end
      if (other != a && (label[other] == label[a]) != positive) {
        const Dtype difference = positive ? d[index] - d[a * V + other] : d[a * V + other] - d[index];
        slope += is_open(difference + margin) ? step : Dtype(0);
      }
    }
    dd[index] = slope;
  }
}

template <typename Dtype>
void TripletLossLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const TripletLossParameter& param = this->layer_param_.triplet_loss_param();
  const int V = bottom[0]->shape(0);
  const bool mean = this->layer_param_.loss_param().normalization() == LossParameter_NormalizationMode_VALID;
  const Dtype margin = param.margin();
  const Dtype* d = bottom[0]->gpu_data();
  if (param.triplets() == TripletLossParameter_Triplets_ORDERED &&
      bottom[1]->data()->head() != SyncedMemory::HEAD_AT_GPU) {
    RequireOrder(V, bottom[1]->cpu_data());
  }
  if (param.triplets() == TripletLossParameter_Triplets_ALL) {
    // NOLINT_NEXT_LINE(whitespace/operators)
    TripletLossForwardAll<Dtype><<<1, kBlockSumThreads>>>(V, mean, margin, d, bottom[1]->gpu_data(),
        normalizer_on_gpu_.mutable_gpu_data(), top[0]->mutable_gpu_data());
  } else {
    const bool hard = param.triplets() == TripletLossParameter_Triplets_HARD;
    // NOLINT_NEXT_LINE(whitespace/operators)
    TripletLossForwardChosen<Dtype><<<1, kBlockSumThreads>>>(V, hard, mean, margin, d, bottom[1]->gpu_data(),
        chosen_.mutable_gpu_data(), normalizer_on_gpu_.mutable_gpu_data(), top[0]->mutable_gpu_data());
  }
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void TripletLossLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  LAYER_REQUIRE(!propagate_down[1]) << "a label has no gradient";
  const TripletLossParameter& param = this->layer_param_.triplet_loss_param();
  const int V = bottom[0]->shape(0);
  if (!propagate_down[0] || V == 0) {
    return;
  }
  const Dtype margin = param.margin();
  const Dtype* d = bottom[0]->gpu_data();
  const Dtype* loss_weight = top[0]->gpu_diff();
  Dtype* dd = bottom[0]->mutable_gpu_diff();
  if (param.triplets() == TripletLossParameter_Triplets_ALL) {
    // NOLINT_NEXT_LINE(whitespace/operators)
    TripletLossBackwardAll<Dtype><<<CAFFE_GET_BLOCKS(V * V), CAFFE_CUDA_NUM_THREADS>>>(V, margin, d,
        bottom[1]->gpu_data(), normalizer_on_gpu_.gpu_data(), loss_weight, dd);
  } else {
    // NOLINT_NEXT_LINE(whitespace/operators)
    TripletLossBackwardChosen<Dtype><<<CAFFE_GET_BLOCKS(V * V), CAFFE_CUDA_NUM_THREADS>>>(V, margin, d,
        chosen_.gpu_data(), normalizer_on_gpu_.gpu_data(), loss_weight, dd);
  }
  CUDA_POST_KERNEL_CHECK;
}

INSTANTIATE_LAYER_GPU_FUNCS(TripletLossLayer);

}  // namespace caffe
