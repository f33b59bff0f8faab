#ifndef CAFFE_UTIL_ROIS_CUH_
#define CAFFE_UTIL_ROIS_CUH_

#include <algorithm>
#include <vector>

#include "caffe/util/rois.hpp"

namespace caffe {

/**
 * @brief The boxes of each map: `begin` (maps + 1) and `order` (M) list those of map n at order[begin[n]] ..
 *        order[begin[n + 1] - 1], in rising order. Boxes that are on no map are in no list.
 *
 * A thread is a box and a map: it counts the boxes that come before it, in tiles of blockDim.x boxes that the block
 * shares. These are M^2 comparisons, a few microseconds for the 6 boxes of each of 240 frames.
 */
template <typename Dtype>
__global__ void SortRoisByMap(const int M, const int maps, const Dtype* rois, int* begin, int* order) {
  __shared__ int map_of[CAFFE_CUDA_NUM_THREADS];
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const int map = i < M ? RoiMap(rois + i * 5, maps) : -1;
  int before_box = 0, before_map = 0;
  for (int first = 0; first < M; first += blockDim.x) {
    const int own = first + threadIdx.x;
    __syncthreads();  // the tile before has been read
    map_of[threadIdx.x] = own < M ? RoiMap(rois + own * 5, maps) : maps;  // past the end: before nothing
    __syncthreads();
    for (int k = 0; k < blockDim.x; ++k) {
      before_box += map_of[k] < map || (map_of[k] == map && first + k < i);
      before_map += map_of[k] < i;
    }
  }
  if (i < M) {
    order[before_box] = i;
  }
  if (i <= maps) {
    begin[i] = before_map;
  }
}

/// RequireRois, unless the boxes lie only on the GPU: reading them back would stop it in each forward pass. A wrong box that
/// came from there gives NaN.
template <typename Dtype>
void RequireHostRois(const LayerParameter& layer, const Blob<Dtype>& rois, int maps) {
  if (rois.data()->head() != SyncedMemory::HEAD_AT_GPU) {
    RequireRois(layer, rois, maps);
  }
}

/// `sorted` becomes `begin` and behind it `order` of SortRoisByMap, on the device. M is at least 1.
template <typename Dtype>
void SortRois(const Blob<Dtype>& rois, int maps, Blob<int>* sorted) {
  const int M = rois.shape(0);
  sorted->Reshape(std::vector<int>(1, maps + 1 + M));
  int* begin = sorted->mutable_gpu_data();
  // NOLINT_NEXT_LINE(whitespace/operators)
  SortRoisByMap<Dtype><<<CAFFE_GET_BLOCKS(std::max(M, maps + 1)), CAFFE_CUDA_NUM_THREADS>>>(
      M, maps, rois.gpu_data(), begin, begin + maps + 1);
  CUDA_POST_KERNEL_CHECK;
}

}  // namespace caffe

#endif  // CAFFE_UTIL_ROIS_CUH_
