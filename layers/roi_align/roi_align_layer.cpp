#include <vector>

#include "caffe/layers/roi_align_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/rois.hpp"

namespace caffe {

template <typename Dtype>
void ROIAlignLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const ROIAlignParameter& param = this->layer_param_.roi_align_param();
  LAYER_REQUIRE(param.pooled_h() > 0 && param.pooled_w() > 0) << "roi_align_param needs pooled_h and pooled_w";
  LAYER_REQUIRE(param.spatial_scale() > 0) << "spatial_scale must be above 0";
  LAYER_REQUIRE(param.sampling_ratio() > 0) << "sampling_ratio must be at least 1";
  pooled_h_ = param.pooled_h();
  pooled_w_ = param.pooled_w();
  ratio_ = param.sampling_ratio();
  scale_ = param.spatial_scale();
}

template <typename Dtype>
void ROIAlignLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LAYER_REQUIRE(bottom[0]->num_axes() == 4) << "the maps must be N x C x H x W, not " << bottom[0]->shape_string();
  RequireRoiShape(this->layer_param_, *bottom[1]);
  top[0]->Reshape(bottom[1]->shape(0), bottom[0]->channels(), pooled_h_, pooled_w_);
}

template <typename Dtype>
vector<RoiSample<Dtype> > ROIAlignLayer<Dtype>::Samples(Dtype begin, Dtype end, int pooled, int size) const {
  vector<RoiSample<Dtype> > samples;
  for (int i = 0; i < pooled * ratio_; ++i) {
    samples.push_back(RoiSample<Dtype>(begin, end, scale_, i, pooled * ratio_, size));
  }
  return samples;
}

template <typename Dtype>
void ROIAlignLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int C = bottom[0]->channels(), H = bottom[0]->height(), W = bottom[0]->width();
  RequireRois(this->layer_param_, *bottom[1], bottom[0]->num());
  caffe_set(top[0]->count(), Dtype(0), top[0]->mutable_cpu_data());
  for (int m = 0; m < bottom[1]->shape(0); ++m) {
    const Dtype* roi = bottom[1]->cpu_data() + m * 5;
    const int map = static_cast<int>(roi[0]);
    const vector<RoiSample<Dtype> > xs = Samples(roi[1], roi[3], pooled_w_, W);
    const vector<RoiSample<Dtype> > ys = Samples(roi[2], roi[4], pooled_h_, H);
    for (int c = 0; c < C; ++c) {
      const Dtype* data = bottom[0]->cpu_data() + bottom[0]->offset(map, c);
      Dtype* pooled = top[0]->mutable_cpu_data() + top[0]->offset(m, c);
      for (int i = 0; i < ys.size(); ++i) {
        const Dtype* low = data + ys[i].low * W;
        const Dtype* high = data + ys[i].high * W;
        for (int j = 0; j < xs.size(); ++j) {
          const RoiSample<Dtype>& x = xs[j];
          pooled[(i / ratio_) * pooled_w_ + j / ratio_] += (
              ys[i].low_weight * (x.low_weight * low[x.low] + x.high_weight * low[x.high]) +
              ys[i].high_weight * (x.low_weight * high[x.low] + x.high_weight * high[x.high])) / (ratio_ * ratio_);
        }
      }
    }
  }
}

template <typename Dtype>
void ROIAlignLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const int C = bottom[0]->channels(), H = bottom[0]->height(), W = bottom[0]->width();
  for (int b = 0; b < 2; ++b) {
    if (propagate_down[b]) {
      caffe_set(bottom[b]->count(), Dtype(0), bottom[b]->mutable_cpu_diff());
    }
  }
  for (int m = 0; m < bottom[1]->shape(0); ++m) {
    const Dtype* roi = bottom[1]->cpu_data() + m * 5;
    const int map = static_cast<int>(roi[0]);
    const vector<RoiSample<Dtype> > xs = Samples(roi[1], roi[3], pooled_w_, W);
    const vector<RoiSample<Dtype> > ys = Samples(roi[2], roi[4], pooled_h_, H);
    Dtype x1 = 0, y1 = 0, x2 = 0, y2 = 0;
    for (int c = 0; c < C; ++c) {
      const Dtype* data = bottom[0]->cpu_data() + bottom[0]->offset(map, c);
      Dtype* diff = propagate_down[0] ? bottom[0]->mutable_cpu_diff() + bottom[0]->offset(map, c) : NULL;
      const Dtype* pooled_diff = top[0]->cpu_diff() + top[0]->offset(m, c);
      for (int i = 0; i < ys.size(); ++i) {
        const RoiSample<Dtype>& y = ys[i];
        for (int j = 0; j < xs.size(); ++j) {
          const RoiSample<Dtype>& x = xs[j];
          const Dtype g = pooled_diff[(i / ratio_) * pooled_w_ + j / ratio_] / (ratio_ * ratio_);
          const int ll = y.low * W + x.low, lh = y.low * W + x.high, hl = y.high * W + x.low, hh = y.high * W + x.high;
          if (diff) {
            diff[ll] += g * y.low_weight * x.low_weight;
            diff[lh] += g * y.low_weight * x.high_weight;
            diff[hl] += g * y.high_weight * x.low_weight;
            diff[hh] += g * y.high_weight * x.high_weight;
          }
          if (propagate_down[1]) {
            const Dtype gx = g * scale_ * x.slope *
                (y.low_weight * (data[lh] - data[ll]) + y.high_weight * (data[hh] - data[hl]));
            const Dtype gy = g * scale_ * y.slope *
                (x.low_weight * (data[hl] - data[ll]) + x.high_weight * (data[hh] - data[lh]));
            x1 += gx * (1 - x.place);
            x2 += gx * x.place;
            y1 += gy * (1 - y.place);
            y2 += gy * y.place;
          }
        }
      }
    }
    if (propagate_down[1]) {
      const Dtype gradient[] = {0, x1, y1, x2, y2};
      caffe_copy(5, gradient, bottom[1]->mutable_cpu_diff() + m * 5);
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(ROIAlignLayer);
#endif

INSTANTIATE_CLASS(ROIAlignLayer);
REGISTER_LAYER_CLASS(ROIAlign);

}  // namespace caffe
