#ifndef CAFFE_UTIL_PAIR_DISTANCE_CUH_
#define CAFFE_UTIL_PAIR_DISTANCE_CUH_

#include "caffe/util/block_sum.cuh"

namespace caffe {

/// UnitRows: u = f / ||f||_2 row by row (rows x C), a row of zeros stays zero. A block of kBlockSumThreads a row.
template <typename Dtype>
__global__ void UnitRowsForward(const int C, const Dtype* f, Dtype* u, Dtype* norm) {
  const int row = blockIdx.x;
  Dtype square = 0;
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    square += f[row * C + c] * f[row * C + c];
  }
  const Dtype length = sqrt(block_sum(square));
  const Dtype inverse = length > 0 ? 1 / length : Dtype(0);
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    u[row * C + c] = inverse * f[row * C + c];
  }
  if (threadIdx.x == 0) {
    norm[row] = length;
  }
}

/// ||a - b||_2^2 of two rows of C values, in every thread of a block of kBlockSumThreads, each of which must call it.
template <typename Dtype>
__device__ inline Dtype pair_square(int C, const Dtype* a, const Dtype* b) {
  Dtype square = 0;
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    const Dtype difference = a[c] - b[c];
    square += difference * difference;
  }
  return block_sum(square);
}

/**
 * @brief PairDistancesBackward of R parts, and UnitRowsBackward behind it: the gradient df (V x R x C) of the rows f.
 *        Block i R + r, of kBlockSumThreads, makes row (i, r).
 *
 * f is V x R x C, d (the distances or their squares) R x V x V, g (their loss's gradient, by the sum over the parts)
 * V x V. w, V x R, weights part r of the pair (i, j) by w_i^r w_j^r; NULL: by 1. norm, V x R, is what UnitRowsForward
 * gave with the rows f; NULL: they are as they came.
 */
template <typename Dtype>
__global__ void PairRowsBackward(const int V, const int R, const int C, const Dtype* f, const Dtype* d, const Dtype* g,
    const Dtype* w, const Dtype* norm, const bool squared, Dtype* df) {
  const int row = blockIdx.x, i = row / R, r = row % R;
  const Dtype* distance = d + (r * V + i) * V;
  Dtype along = 0;  // this thread's share of f . df
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    const Dtype value = f[row * C + c];
    Dtype sum = 0;
    for (int j = 0; j < V; ++j) {
      const int other = j * R + r;
      Dtype k = g[i * V + j] + g[j * V + i];
      if (w != NULL) {
        k *= w[row] * w[other];
      }
      if (distance[j] != 0 && k != 0) {
        sum += (squared ? 2 * k : k / distance[j]) * (value - f[other * C + c]);
      }
    }
    df[row * C + c] = sum;
    along += value * sum;
  }
  if (norm != NULL) {
    along = block_sum(along);
    const Dtype inverse = norm[row] > 0 ? 1 / norm[row] : Dtype(0);
    for (int c = threadIdx.x; c < C; c += blockDim.x) {
      df[row * C + c] = inverse * (df[row * C + c] - along * f[row * C + c]);
    }
  }
}

}  // namespace caffe

#endif  // CAFFE_UTIL_PAIR_DISTANCE_CUH_
