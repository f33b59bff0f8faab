#ifndef CAFFE_UTIL_CHANNEL_WALK_CUH_
#define CAFFE_UTIL_CHANNEL_WALK_CUH_

#include <algorithm>

#include "caffe/util/block_sum.cuh"

namespace caffe {

/**
 * @brief The values of channel blockIdx.x of a (num, channels, inner) array that fall to one thread, when gridDim.y
 *        blocks of blockDim.x threads share the channel. Neighbouring threads read neighbouring values.
 *
 *     for (ChannelWalk at(num, channels, inner); at.inside(); at.next()) { ... x[at.offset()] ... }
 */
class ChannelWalk {
 public:
  __device__ ChannelWalk(int num, int channels, int inner) : num_(num), channels_(channels), inner_(inner) {
    const int first = blockIdx.y * blockDim.x + threadIdx.x, step = gridDim.y * blockDim.x;
    n_ = first / inner;
    i_ = first % inner;
    step_n_ = step / inner;
    step_i_ = step % inner;
  }
  __device__ bool inside() const { return n_ < num_; }
  __device__ int offset() const { return (n_ * channels_ + blockIdx.x) * inner_ + i_; }
  __device__ void next() {  // without a division
    n_ += step_n_;
    i_ += step_i_;
    if (i_ >= inner_) {
      i_ -= inner_;
      ++n_;
    }
  }

 private:
  const int num_, channels_, inner_;
  int n_, i_, step_n_, step_i_;
};

/**
 * @brief How many blocks should share a channel of `size` values: one, if that fills the GPU or is little work, since
 *        then a single launch does; else enough for about a thousand blocks, at most 64.
 */
inline int ChannelSlices(int channels, int size) {
  const int kLittle = 32 * kBlockSumThreads, kBlocks = 1024;
  return size <= kLittle ? 1 : std::max(1, std::min(64, std::min(kBlocks / channels, size / kLittle)));
}

/// The sum over a channel's slices of partial[channel][slice], for channel blockIdx.x; the same in every thread.
template <typename Dtype>
__device__ inline Dtype sum_of_slices(const Dtype* partial, int slices) {
  Dtype sum = 0;
  for (int slice = 0; slice < slices; ++slice) {
    sum += partial[blockIdx.x * slices + slice];
  }
  return sum;
}

}  // namespace caffe

#endif  // CAFFE_UTIL_CHANNEL_WALK_CUH_
