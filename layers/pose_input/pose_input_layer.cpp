#include <algorithm>
#include <cmath>
#include <vector>

#include "caffe/layers/pose_input_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

template <typename Dtype>
void PoseInputLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const PoseInputParameter& param = this->layer_param_.pose_input_param();
  const int means = param.mean_value_size(), h = param.new_height(), w = param.new_width();
  LAYER_REQUIRE(h > 0 && w > 0) << "new_height and new_width must be at least 1";
  LAYER_REQUIRE(param.aspect() > 0 && param.sigma() > 0) << "aspect and sigma must be above 0";
  LAYER_REQUIRE(param.scale() != 0) << "scale must not be 0; give the one that the bottom was made with";
  LAYER_REQUIRE(means == 0 || means == 1 || means == 3) << "give no mean_value, one, or three (B, G, R), not " << means;
  factor_ = 1 / (256 * Dtype(param.scale()));
  fill_ = param.fill() / Dtype(256) - Dtype(0.5);
  for (int c = 0; c < 3; ++c) {
    offset_[c] = (means == 0 ? 0 : param.mean_value(c % means)) / Dtype(256) - Dtype(0.5);
  }
  centre_.clear();
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      const double dx = (x - w / 2.) / param.sigma(), dy = (y - h / 2.) / param.sigma();
      centre_.push_back(std::exp(-(dx * dx + dy * dy) / 2));
    }
  }
}

template <typename Dtype>
void PoseInputLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const PoseInputParameter& param = this->layer_param_.pose_input_param();
  LAYER_REQUIRE(bottom[0]->num_axes() == 4 && bottom[0]->channels() == 3 && bottom[0]->count(2) > 0)
      << "the frames must be F x 3 x H x W, not " << bottom[0]->shape_string();
  const int h = param.new_height(), w = param.new_width();
  top[0]->Reshape(bottom[0]->num(), 4, h, w);
  const double aspect = param.aspect();
  const bool narrow = aspect <= double(w) / h;
  rows_ = BoxAxis(h, narrow ? h : w / aspect, bottom[0]->height());
  columns_ = BoxAxis(w, narrow ? aspect * h : w, bottom[0]->width());
}

template <typename Dtype>
typename PoseInputLayer<Dtype>::Axis PoseInputLayer<Dtype>::BoxAxis(int pixels, double side, int size) {
  Axis axis = {0, {}};
  const double edge = (pixels - side) / 2;
  for (int i = 0; i < pixels; ++i) {
    const double centre = i + 0.5;
    if (centre < edge || centre >= edge + side) {
      continue;
    }
    if (axis.samples.empty()) {
      axis.begin = i;
    }
    const double coordinate = std::min(std::max((centre - edge) / side * size - 0.5, 0.), size - 1.);
    Sample sample;
    sample.low = std::min(static_cast<int>(coordinate), std::max(size - 2, 0));
    sample.high = std::min(sample.low + 1, size - 1);
    sample.high_weight = coordinate - sample.low;
    sample.low_weight = 1 - sample.high_weight;
    axis.samples.push_back(sample);
  }
  return axis;
}

template <typename Dtype>
void PoseInputLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int F = bottom[0]->num(), in = bottom[0]->count(2), W = bottom[0]->width();
  const int out = top[0]->count(2), w = top[0]->width();
  const Dtype* frames = bottom[0]->cpu_data();
  Dtype* planes = top[0]->mutable_cpu_data();
#pragma omp parallel for collapse(2)
  for (int f = 0; f < F; ++f) {
    for (int c = 0; c < 4; ++c) {
      Dtype* plane = planes + (f * 4 + c) * out;
      if (c == 3) {
        std::copy(centre_.begin(), centre_.end(), plane);
        continue;
      }
      std::fill(plane, plane + out, fill_);
      for (int i = 0; i < rows_.samples.size(); ++i) {
        const Sample& y = rows_.samples[i];
        const Dtype* low = frames + (f * 3 + c) * in + y.low * W;
        const Dtype* high = frames + (f * 3 + c) * in + y.high * W;
        Dtype* line = plane + (rows_.begin + i) * w + columns_.begin;
        for (int j = 0; j < columns_.samples.size(); ++j) {
          const Sample& x = columns_.samples[j];
          line[j] = offset_[c] + factor_ * (
              y.low_weight * (x.low_weight * low[x.low] + x.high_weight * low[x.high]) +
              y.high_weight * (x.low_weight * high[x.low] + x.high_weight * high[x.high]));
        }
      }
    }
  }
}

template <typename Dtype>
void PoseInputLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!propagate_down[0]) {
    return;
  }
  const int F = bottom[0]->num(), in = bottom[0]->count(2), W = bottom[0]->width();
  const int out = top[0]->count(2), w = top[0]->width();
  const Dtype* planes = top[0]->cpu_diff();
  Dtype* frames = bottom[0]->mutable_cpu_diff();
  caffe_set(bottom[0]->count(), Dtype(0), frames);
#pragma omp parallel for collapse(2)
  for (int f = 0; f < F; ++f) {
    for (int c = 0; c < 3; ++c) {
      for (int i = 0; i < rows_.samples.size(); ++i) {
        const Sample& y = rows_.samples[i];
        Dtype* low = frames + (f * 3 + c) * in + y.low * W;
        Dtype* high = frames + (f * 3 + c) * in + y.high * W;
        const Dtype* line = planes + (f * 4 + c) * out + (rows_.begin + i) * w + columns_.begin;
        for (int j = 0; j < columns_.samples.size(); ++j) {
          const Sample& x = columns_.samples[j];
          const Dtype g = factor_ * line[j];
          low[x.low] += g * y.low_weight * x.low_weight;
          low[x.high] += g * y.low_weight * x.high_weight;
          high[x.low] += g * y.high_weight * x.low_weight;
          high[x.high] += g * y.high_weight * x.high_weight;
        }
      }
    }
  }
}

INSTANTIATE_CLASS(PoseInputLayer);
REGISTER_LAYER_CLASS(PoseInput);

}  // namespace caffe
