#ifndef CAFFE_UTIL_BLOCK_SUM_CUH_
#define CAFFE_UTIL_BLOCK_SUM_CUH_

namespace caffe {

/// Threads a block for kernels that call block_sum.
const int kBlockSumThreads = 256;

/**
 * @brief The sum of `value` over the threads of a block, in every thread.
 *
 * Each thread of the block must call it, and blockDim.x be a multiple of 32, at most 1024. Additions come in a fixed
 * order, so that results repeat bit by bit.
 */
template <typename Dtype>
__device__ inline Dtype block_sum(Dtype value) {
  __shared__ Dtype of_warp[32];
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffff, value, offset);
  }
  __syncthreads();  // of_warp may still be read by the call before
  if (threadIdx.x % 32 == 0) {
    of_warp[threadIdx.x / 32] = value;
  }
  __syncthreads();
  value = 0;
  for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; ++warp) {
    value += of_warp[warp];
  }
  return value;
}

}  // namespace caffe

#endif  // CAFFE_UTIL_BLOCK_SUM_CUH_
