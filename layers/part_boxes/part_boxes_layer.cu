#include <algorithm>
#include <vector>

#include "caffe/layers/part_boxes_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/part_pointers.cuh"

namespace caffe {

/// A thread is one axis of a box, n = parts F 2. The joints of part r are members[begin[r]] .. members[begin[r + 1] - 1].
template <typename Dtype>
__global__ void PartBoxesForward(const int n, const Dtype* joints, const int* begin, const int* members,
    const PartBoxRule<Dtype> rule, const int F, const int J, const PartPointers<Dtype> boxes) {
  CUDA_KERNEL_LOOP(i, n) {
    const int axis = i % 2, f = i / 2 % F, r = i / (2 * F);
    const PartExtent<Dtype> extent =
        rule.Extent(joints + f * J * 3, members + begin[r], begin[r + 1] - begin[r], axis);
    Dtype* box = boxes.part[r] + f * 5;
    if (axis == 0) {
      box[0] = f;
    }
    box[1 + axis] = extent.edge[0];
    box[3 + axis] = extent.edge[1];
  }
}

/// A thread is one of the n = F J 3 values of the joints. It looks at all boxes of its frame in their order, and takes what
/// is the joint's; later launches add to what the first one wrote.
template <typename Dtype>
__global__ void PartBoxesBackward(const int n, const Dtype* joints, const int* begin, const int* members,
    const PartBoxRule<Dtype> rule, const int J, const PartPointers<const Dtype> boxes_diff, const int parts,
    const bool first, Dtype* diff) {
  CUDA_KERNEL_LOOP(i, n) {
    const int axis = i % 3, j = i / 3 % J, f = i / (3 * J);
    Dtype sum = first ? Dtype(0) : diff[i];
    for (int r = 0; axis < 2 && r < parts; ++r) {
      const PartExtent<Dtype> extent =
          rule.Extent(joints + f * J * 3, members + begin[r], begin[r + 1] - begin[r], axis);
      for (int e = 0; e < 2; ++e) {
        const Dtype g = boxes_diff.part[r][f * 5 + 1 + 2 * e + axis];
        for (int end = 0; end < 2; ++end) {
          if (extent.joint[end] == j) {
            sum += g * extent.slope[e][end];
          }
        }
      }
    }
    diff[i] = sum;
  }
}

template <typename Dtype>
void PartBoxesLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  if (bottom[0]->count() == 0) {
    return;
  }
  if (bottom[0]->data()->head() != SyncedMemory::HEAD_AT_GPU) {
    RequireNumbers(*bottom[0]);
  }
  const int F = bottom[0]->shape(0), R = top.size();
  const int* begin = part_lists_.gpu_data();
  PartPointers<Dtype> boxes = {};
  for (int first = 0; first < R; first += kPartsPerLaunch) {
    const int parts = std::min(R - first, kPartsPerLaunch), n = parts * F * 2;
    for (int r = 0; r < parts; ++r) {
      boxes.part[r] = top[first + r]->mutable_gpu_data();
    }
    // NOLINT_NEXT_LINE(whitespace/operators)
    PartBoxesForward<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(
        n, bottom[0]->gpu_data(), begin + first, begin + R + 1, rule_, F, bottom[0]->shape(1), boxes);
    CUDA_POST_KERNEL_CHECK;
  }
}

template <typename Dtype>
void PartBoxesLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const int n = bottom[0]->count(), R = top.size();
  if (!propagate_down[0] || n == 0) {
    return;
  }
  const int* begin = part_lists_.gpu_data();
  PartPointers<const Dtype> boxes_diff = {};
  for (int first = 0; first < R; first += kPartsPerLaunch) {
    const int parts = std::min(R - first, kPartsPerLaunch);
    for (int r = 0; r < parts; ++r) {
      boxes_diff.part[r] = top[first + r]->gpu_diff();
    }
    // NOLINT_NEXT_LINE(whitespace/operators)
    PartBoxesBackward<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(
        n, bottom[0]->gpu_data(), begin + first, begin + R + 1, rule_, bottom[0]->shape(1), boxes_diff, parts,
        first == 0, bottom[0]->mutable_gpu_diff());
    CUDA_POST_KERNEL_CHECK;
  }
}

INSTANTIATE_LAYER_GPU_FUNCS(PartBoxesLayer);

}  // namespace caffe
