#include <cmath>
#include <vector>

#include "caffe/layers/roi_pooling_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/roi_bins.hpp"
#include "caffe/util/rois.cuh"

namespace caffe {

/// A thread is one of the n = M C pooled_h pooled_w bins. A box that is on no map gives NaN.
template <typename Dtype>
__global__ void ROIPoolingForward(const int n, const Dtype* maps, const Dtype* rois, const int N, const int C,
    const int H, const int W, const int pooled_h, const int pooled_w, const Dtype scale, Dtype* pooled, int* max_index) {
  CUDA_KERNEL_LOOP(bin, n) {
    const int pw = bin % pooled_w, ph = bin / pooled_w % pooled_h, c = bin / (pooled_w * pooled_h) % C;
    const Dtype* roi = rois + bin / (pooled_w * pooled_h * C) * 5;
    const int number = RoiMap(roi, N);
    if (number < 0) {
      pooled[bin] = NAN;
      max_index[bin] = -1;
      continue;
    }
    const Dtype* map = maps + (number * C + c) * H * W;
    const RoiBins<Dtype> columns(roi[1], roi[3], scale, pooled_w), rows(roi[2], roi[4], scale, pooled_h);
    const int h_end = rows.End(ph, H), w_begin = columns.Begin(pw, W), w_end = columns.End(pw, W);
    int best = -1;
    Dtype most = 0;
    for (int h = rows.Begin(ph, H); h < h_end; ++h) {
      for (int w = w_begin; w < w_end; ++w) {
        const Dtype value = map[h * W + w];
        if (best < 0 || value > most) {
          best = h * W + w;
          most = value;
        }
      }
    }
    pooled[bin] = most;
    max_index[bin] = best;
  }
}

/**
 * A thread is one of the n = N C H W pixels of the maps, and gathers from the boxes of its map, box by box and bin by bin
 * as the CPU adds: no atomics, no zeroing before, and the same bits every time. Of a box it looks at those bins only that
 * may hold the pixel, mostly one to four; max_index says which of them took it.
 */
template <typename Dtype>
__global__ void ROIPoolingBackward(const int n, const Dtype* pooled_diff, const int* max_index, const Dtype* rois,
    const int* begin, const int* order, const int C, const int H, const int W, const int pooled_h, const int pooled_w,
    const Dtype scale, Dtype* diff) {
  CUDA_KERNEL_LOOP(i, n) {
    const int w = i % W, h = i / W % H, c = i / (W * H) % C, number = i / (W * H * C);
    Dtype sum = 0;
    for (int k = begin[number]; k < begin[number + 1]; ++k) {
      const int m = order[k];
      const Dtype* roi = rois + m * 5;
      const RoiBins<Dtype> rows(roi[2], roi[4], scale, pooled_h);
      const int ph_first = rows.FirstOf(h), ph_last = rows.LastOf(h, pooled_h);
      if (ph_first > ph_last) {
        continue;
      }
      const RoiBins<Dtype> columns(roi[1], roi[3], scale, pooled_w);
      const int pw_first = columns.FirstOf(w), pw_last = columns.LastOf(w, pooled_w);
      for (int ph = ph_first; ph <= ph_last; ++ph) {
        for (int pw = pw_first; pw <= pw_last; ++pw) {
          const int bin = ((m * C + c) * pooled_h + ph) * pooled_w + pw;
          if (max_index[bin] == h * W + w) {
            sum += pooled_diff[bin];
          }
        }
      }
    }
    diff[i] = sum;
  }
}

template <typename Dtype>
void ROIPoolingLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int n = top[0]->count();
  if (n == 0) {
    return;
  }
  RequireHostRois(this->layer_param_, *bottom[1], bottom[0]->num());
  const Dtype scale = this->layer_param_.roi_pooling_param().spatial_scale();
  // NOLINT_NEXT_LINE(whitespace/operators)
  ROIPoolingForward<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(
      n, bottom[0]->gpu_data(), bottom[1]->gpu_data(), bottom[0]->num(), bottom[0]->channels(), bottom[0]->height(),
      bottom[0]->width(), pooled_h_, pooled_w_, scale, top[0]->mutable_gpu_data(), max_index_.mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void ROIPoolingLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const int n = bottom[0]->count(), M = bottom[1]->shape(0);
  if (propagate_down[1] && M > 0) {
    caffe_gpu_set(bottom[1]->count(), Dtype(0), bottom[1]->mutable_gpu_diff());
  }
  if (!propagate_down[0] || n == 0) {
    return;
  }
  if (M == 0) {
    caffe_gpu_set(n, Dtype(0), bottom[0]->mutable_gpu_diff());
    return;
  }
  SortRois(*bottom[1], bottom[0]->num(), &sorted_);
  const Dtype scale = this->layer_param_.roi_pooling_param().spatial_scale();
  // NOLINT_NEXT_LINE(whitespace/operators)
  ROIPoolingBackward<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(
      n, top[0]->gpu_diff(), max_index_.gpu_data(), bottom[1]->gpu_data(), sorted_.gpu_data(),
      sorted_.gpu_data() + bottom[0]->num() + 1, bottom[0]->channels(), bottom[0]->height(), bottom[0]->width(),
      pooled_h_, pooled_w_, scale, bottom[0]->mutable_gpu_diff());
  CUDA_POST_KERNEL_CHECK;
}

INSTANTIATE_LAYER_GPU_FUNCS(ROIPoolingLayer);

}  // namespace caffe
