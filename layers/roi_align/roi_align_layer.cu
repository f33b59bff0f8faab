#include <cmath>
#include <vector>

#include "caffe/layers/roi_align_layer.hpp"
#include "caffe/util/block_sum.cuh"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/roi_sample.hpp"
#include "caffe/util/rois.cuh"

namespace caffe {

/// A thread is one of the n = M C pooled_h pooled_w bins. A box that is on no map gives NaN.
template <typename Dtype>
__global__ void ROIAlignForward(const int n, const Dtype* maps, const Dtype* rois, const int N, const int C, const int H,
    const int W, const int pooled_h, const int pooled_w, const int ratio, const Dtype scale, Dtype* pooled) {
  CUDA_KERNEL_LOOP(bin, n) {
    const int pw = bin % pooled_w, ph = bin / pooled_w % pooled_h, c = bin / (pooled_w * pooled_h) % C;
    const Dtype* roi = rois + bin / (pooled_w * pooled_h * C) * 5;
    const int number = RoiMap(roi, N);
    if (number < 0) {
      pooled[bin] = NAN;
      continue;
    }
    const Dtype* map = maps + (number * C + c) * H * W;
    Dtype sum = 0;
    for (int i = ph * ratio; i < (ph + 1) * ratio; ++i) {
      const RoiSample<Dtype> y(roi[2], roi[4], scale, i, pooled_h * ratio, H);
      const Dtype* low = map + y.low * W;
      const Dtype* high = map + y.high * W;
      for (int j = pw * ratio; j < (pw + 1) * ratio; ++j) {
        const RoiSample<Dtype> x(roi[1], roi[3], scale, j, pooled_w * ratio, W);
        sum += (y.low_weight * (x.low_weight * low[x.low] + x.high_weight * low[x.high]) +
            y.high_weight * (x.low_weight * high[x.low] + x.high_weight * high[x.high])) / (ratio * ratio);
      }
    }
    pooled[bin] = sum;
  }
}

/**
 * What each row and column of the map weighs in the bins of each box: for box m first (H, pooled_h), then (W, pooled_w). A
 * pixel's weight in a bin is that of its row times that of its column. A thread is one of the n weights.
 */
template <typename Dtype>
__global__ void ROIAlignWeights(const int n, const Dtype* rois, const int H, const int W, const int pooled_h,
    const int pooled_w, const int ratio, const Dtype scale, Dtype* weights) {
  const int of_rows = H * pooled_h, of_box = of_rows + W * pooled_w;
  CUDA_KERNEL_LOOP(i, n) {
    const bool row = i % of_box < of_rows;
    const Dtype* edges = rois + i / of_box * 5 + (row ? 2 : 1);
    const int place = row ? i % of_box : i % of_box - of_rows, pooled = row ? pooled_h : pooled_w;
    const int at = place / pooled, bin = place % pooled;
    Dtype weight = 0;
    for (int k = bin * ratio; k < (bin + 1) * ratio; ++k) {
      const RoiSample<Dtype> sample(edges[0], edges[2], scale, k, pooled * ratio, row ? H : W);
      weight += (sample.low == at ? sample.low_weight : 0) + (sample.high == at ? sample.high_weight : 0);
    }
    weights[i] = weight / ratio;
  }
}

/**
 * The maps' gradient. A thread is one of the n = N C H W pixels and gathers from the boxes of its map, one after the
 * other: no atomics, no zeroing before, and the same bits every time. The weights do not depend on the channel and are
 * mostly zeros, so that they come from a table of a few megabytes and few bins are read.
 */
template <typename Dtype>
__global__ void ROIAlignBackward(const int n, const Dtype* pooled_diff, const Dtype* weights, const int* begin,
    const int* order, const int C, const int H, const int W, const int pooled_h, const int pooled_w, Dtype* diff) {
  CUDA_KERNEL_LOOP(i, n) {
    const int w = i % W, h = i / W % H, c = i / (W * H) % C, number = i / (W * H * C);
    Dtype sum = 0;
    for (int k = begin[number]; k < begin[number + 1]; ++k) {
      const int m = order[k];
      const Dtype* of_box = weights + m * (H * pooled_h + W * pooled_w);
      const Dtype* row = of_box + h * pooled_h;
      const Dtype* column = of_box + H * pooled_h + w * pooled_w;
      const Dtype* g = pooled_diff + (m * C + c) * pooled_h * pooled_w;
      for (int ph = 0; ph < pooled_h; ++ph) {
        if (row[ph] == 0) {
          continue;
        }
        Dtype along = 0;
        for (int pw = 0; pw < pooled_w; ++pw) {
          if (column[pw] != 0) {
            along += column[pw] * g[ph * pooled_w + pw];
          }
        }
        sum += row[ph] * along;
      }
    }
    diff[i] = sum;
  }
}

/// The boxes' gradient. A block is a box; its threads share the C pooled_h pooled_w bins.
template <typename Dtype>
__global__ void ROIAlignBoxesBackward(const Dtype* maps, const Dtype* pooled_diff, const Dtype* rois, const int N,
    const int C, const int H, const int W, const int pooled_h, const int pooled_w, const int ratio, const Dtype scale,
    Dtype* diff) {
  const int m = blockIdx.x, bins = C * pooled_h * pooled_w;
  const Dtype* roi = rois + m * 5;
  const int number = RoiMap(roi, N);
  Dtype x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  for (int bin = threadIdx.x; number >= 0 && bin < bins; bin += blockDim.x) {
    const int pw = bin % pooled_w, ph = bin / pooled_w % pooled_h, c = bin / (pooled_w * pooled_h);
    const Dtype* map = maps + (number * C + c) * H * W;
    const Dtype g = pooled_diff[m * bins + bin] * scale / (ratio * ratio);
    for (int i = ph * ratio; i < (ph + 1) * ratio; ++i) {
      const RoiSample<Dtype> y(roi[2], roi[4], scale, i, pooled_h * ratio, H);
      const Dtype* low = map + y.low * W;
      const Dtype* high = map + y.high * W;
      for (int j = pw * ratio; j < (pw + 1) * ratio; ++j) {
        const RoiSample<Dtype> x(roi[1], roi[3], scale, j, pooled_w * ratio, W);
        const Dtype gx = g * x.slope *
            (y.low_weight * (low[x.high] - low[x.low]) + y.high_weight * (high[x.high] - high[x.low]));
        const Dtype gy = g * y.slope *
            (x.low_weight * (high[x.low] - low[x.low]) + x.high_weight * (high[x.high] - low[x.high]));
        x1 += gx * (1 - x.place);
        x2 += gx * x.place;
        y1 += gy * (1 - y.place);
        y2 += gy * y.place;
      }
    }
  }
  x1 = block_sum(x1);
  y1 = block_sum(y1);
  x2 = block_sum(x2);
  y2 = block_sum(y2);
  if (threadIdx.x == 0) {
    const Dtype wrong = number < 0 ? NAN : 0;
    diff[m * 5] = 0;
    diff[m * 5 + 1] = x1 + wrong;
    diff[m * 5 + 2] = y1 + wrong;
    diff[m * 5 + 3] = x2 + wrong;
    diff[m * 5 + 4] = y2 + wrong;
  }
}

template <typename Dtype>
void ROIAlignLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int n = top[0]->count();
  if (n == 0) {
    return;
  }
  RequireHostRois(this->layer_param_, *bottom[1], bottom[0]->num());
  // NOLINT_NEXT_LINE(whitespace/operators)
  ROIAlignForward<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(
      n, bottom[0]->gpu_data(), bottom[1]->gpu_data(), bottom[0]->num(), bottom[0]->channels(), bottom[0]->height(),
      bottom[0]->width(), pooled_h_, pooled_w_, ratio_, scale_, top[0]->mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void ROIAlignLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const int N = bottom[0]->num(), C = bottom[0]->channels(), H = bottom[0]->height(), W = bottom[0]->width();
  const int M = bottom[1]->shape(0), pixels = bottom[0]->count();
  if (M == 0 || pixels == 0) {
    for (int b = 0; b < 2; ++b) {
      if (propagate_down[b] && bottom[b]->count() > 0) {
        caffe_gpu_set(bottom[b]->count(), Dtype(0), bottom[b]->mutable_gpu_diff());
      }
    }
    return;
  }
  const Dtype* rois = bottom[1]->gpu_data();
  if (propagate_down[0]) {
    SortRois(*bottom[1], N, &sorted_);
    weights_.Reshape(vector<int>{M, H * pooled_h_ + W * pooled_w_});
    const int n = weights_.count();
    // NOLINT_NEXT_LINE(whitespace/operators)
    ROIAlignWeights<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(
        n, rois, H, W, pooled_h_, pooled_w_, ratio_, scale_, weights_.mutable_gpu_data());
    // NOLINT_NEXT_LINE(whitespace/operators)
    ROIAlignBackward<Dtype><<<CAFFE_GET_BLOCKS(pixels), CAFFE_CUDA_NUM_THREADS>>>(
        pixels, top[0]->gpu_diff(), weights_.gpu_data(), sorted_.gpu_data(), sorted_.gpu_data() + N + 1, C, H, W,
        pooled_h_, pooled_w_, bottom[0]->mutable_gpu_diff());
    CUDA_POST_KERNEL_CHECK;
  }
  if (propagate_down[1]) {
    // NOLINT_NEXT_LINE(whitespace/operators)
    ROIAlignBoxesBackward<Dtype><<<M, kBlockSumThreads>>>(
        bottom[0]->gpu_data(), top[0]->gpu_diff(), rois, N, C, H, W, pooled_h_, pooled_w_, ratio_, scale_,
        bottom[1]->mutable_gpu_diff());
    CUDA_POST_KERNEL_CHECK;
  }
}

INSTANTIATE_LAYER_GPU_FUNCS(ROIAlignLayer);

}  // namespace caffe
