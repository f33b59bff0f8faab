#include <vector>

#include "caffe/layers/roi_pooling_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/roi_bins.hpp"
#include "caffe/util/rois.hpp"

namespace caffe {

template <typename Dtype>
void ROIPoolingLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const ROIPoolingParameter& param = this->layer_param_.roi_pooling_param();
  LAYER_REQUIRE(param.pooled_h() > 0 && param.pooled_w() > 0) << "roi_pooling_param needs pooled_h and pooled_w";
  LAYER_REQUIRE(param.spatial_scale() > 0) << "spatial_scale must be above 0";
  pooled_h_ = param.pooled_h();
  pooled_w_ = param.pooled_w();
}

template <typename Dtype>
void ROIPoolingLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LAYER_REQUIRE(bottom[0]->num_axes() == 4) << "the maps must be N x C x H x W, not " << bottom[0]->shape_string();
  RequireRoiShape(this->layer_param_, *bottom[1]);
  top[0]->Reshape(bottom[1]->shape(0), bottom[0]->channels(), pooled_h_, pooled_w_);
  max_index_.Reshape(top[0]->shape());
}

template <typename Dtype>
void ROIPoolingLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const Dtype scale = this->layer_param_.roi_pooling_param().spatial_scale();
  const int C = bottom[0]->channels(), H = bottom[0]->height(), W = bottom[0]->width(), M = bottom[1]->shape(0);
  const Dtype* rois = bottom[1]->cpu_data();
  const Dtype* maps = bottom[0]->cpu_data();
  Dtype* pooled = top[0]->mutable_cpu_data();
  int* index = max_index_.mutable_cpu_data();
  RequireRois(this->layer_param_, *bottom[1], bottom[0]->num());  // before the threads: an exception cannot leave them
#pragma omp parallel for collapse(2)
  for (int m = 0; m < M; ++m) {
    for (int c = 0; c < C; ++c) {
      const Dtype* roi = rois + m * 5;
      const Dtype* map = maps + (static_cast<int>(roi[0]) * C + c) * H * W;
      const RoiBins<Dtype> columns(roi[1], roi[3], scale, pooled_w_), rows(roi[2], roi[4], scale, pooled_h_);
      int bin = (m * C + c) * pooled_h_ * pooled_w_;
      for (int ph = 0; ph < pooled_h_; ++ph) {
        const int h_begin = rows.Begin(ph, H), h_end = rows.End(ph, H);
        for (int pw = 0; pw < pooled_w_; ++pw, ++bin) {
          const int w_begin = columns.Begin(pw, W), w_end = columns.End(pw, W);
          int best = -1;
          for (int h = h_begin; h < h_end; ++h) {
            for (int w = w_begin; w < w_end; ++w) {
              if (best < 0 || map[h * W + w] > map[best]) {
                best = h * W + w;
              }
            }
          }
          index[bin] = best;
          pooled[bin] = best < 0 ? Dtype(0) : map[best];
        }
      }
    }
  }
}

template <typename Dtype>
void ROIPoolingLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (propagate_down[1]) {
    caffe_set(bottom[1]->count(), Dtype(0), bottom[1]->mutable_cpu_diff());
  }
  if (!propagate_down[0]) {
    return;
  }
  caffe_set(bottom[0]->count(), Dtype(0), bottom[0]->mutable_cpu_diff());
  const int C = bottom[0]->channels(), map_size = bottom[0]->count(2), bins = pooled_h_ * pooled_w_;
  const Dtype* rois = bottom[1]->cpu_data();
  const Dtype* pooled_diff = top[0]->cpu_diff();
  const int* index = max_index_.cpu_data();
  Dtype* diff = bottom[0]->mutable_cpu_diff();
#pragma omp parallel for  // over channels: several boxes may lie on one map
  for (int c = 0; c < C; ++c) {
    for (int m = 0; m < top[0]->num(); ++m) {
      Dtype* map = diff + (static_cast<int>(rois[m * 5]) * C + c) * map_size;
      for (int bin = (m * C + c) * bins; bin < (m * C + c + 1) * bins; ++bin) {
        if (index[bin] >= 0) {
          map[index[bin]] += pooled_diff[bin];
        }
      }
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(ROIPoolingLayer);
#endif

INSTANTIATE_CLASS(ROIPoolingLayer);
REGISTER_LAYER_CLASS(ROIPooling);

}  // namespace caffe
