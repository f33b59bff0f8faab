#ifndef CAFFE_UTIL_BLOCK_MAX_CUH_
#define CAFFE_UTIL_BLOCK_MAX_CUH_

namespace caffe {

/**
 * @brief The largest `value` of the threads of a block, in every thread; a NaN counts only if all are.
 *
 * Each thread of the block must call it, and blockDim.x be a multiple of 32, at most 1024.
 */
template <typename Dtype>
__device__ inline Dtype block_max(Dtype value) {
  __shared__ Dtype of_warp[32];
  for (int offset = 16; offset > 0; offset /= 2) {
    value = fmax(value, __shfl_xor_sync(0xffffffff, value, offset));
  }
  __syncthreads();  // of_warp may still be read by the call before
  if (threadIdx.x % 32 == 0) {
    of_warp[threadIdx.x / 32] = value;
  }
  __syncthreads();
  for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; ++warp) {
    value = fmax(value, of_warp[warp]);
  }
  return value;
}

}  // namespace caffe

#endif  // CAFFE_UTIL_BLOCK_MAX_CUH_
