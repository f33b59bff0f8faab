#include <algorithm>
#include <cmath>
#include <vector>

#include "caffe/layers/spatial_soft_arg_max_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

template <typename Dtype>
void SpatialSoftArgMaxLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const SpatialSoftArgMaxParameter& param = this->layer_param_.spatial_soft_arg_max_param();
  channels_.assign(param.channel().begin(), param.channel().end());
  for (int j = 0; param.channel_size() == 0 && j < param.joints(); ++j) {
    channels_.push_back(j);
  }
  LAYER_REQUIRE(!channels_.empty()) << "give at least one joint";
  joint_channels_.Reshape(vector<int>(1, channels_.size()));
  std::copy(channels_.begin(), channels_.end(), joint_channels_.mutable_cpu_data());
  LAYER_REQUIRE(param.beta() > 0 && param.stride() > 0) << "beta and stride must be above 0";
}

template <typename Dtype>
void SpatialSoftArgMaxLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LAYER_REQUIRE(bottom[0]->num_axes() == 4) << "the maps must be F x J x h x w, not " << bottom[0]->shape_string();
  for (int channel : channels_) {
    LAYER_REQUIRE(channel < bottom[0]->channels()) << "joints are read from map " << channel << ", but the bottom has "
        << bottom[0]->channels() << " maps";
  }
  const int J = channels_.size();
  const int shape[] = {bottom[0]->num(), J, 3};
  top[0]->Reshape(vector<int>(shape, shape + 3));
  if (this->layer_param_.spatial_soft_arg_max_param().mode() == SpatialSoftArgMaxParameter_Mode_SOFT) {
    probability_.Reshape(bottom[0]->num(), J, bottom[0]->height(), bottom[0]->width());
  }
}

template <typename Dtype>
Dtype SpatialSoftArgMaxLayer<Dtype>::Pixel(int cell) const {
  const Dtype stride = this->layer_param_.spatial_soft_arg_max_param().stride();
  return cell * stride + (stride - 1) / 2;
}

template <typename Dtype>
void SpatialSoftArgMaxLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const SpatialSoftArgMaxParameter& param = this->layer_param_.spatial_soft_arg_max_param();
  const int J = channels_.size(), h = bottom[0]->height(), w = bottom[0]->width();
  for (int f = 0; f < bottom[0]->num(); ++f) {
    for (int j = 0; j < J; ++j) {
      const Dtype* map = bottom[0]->cpu_data() + bottom[0]->offset(f, channels_[j]);
      Dtype* joint = top[0]->mutable_cpu_data() + (f * J + j) * 3;
      const int best = std::max_element(map, map + h * w) - map;
      joint[0] = Pixel(best % w);
      joint[1] = Pixel(best / w);
      joint[2] = map[best];
      if (param.mode() == SpatialSoftArgMaxParameter_Mode_SOFT) {
        Dtype* p = probability_.mutable_cpu_data() + (f * J + j) * h * w;
        Dtype sum = 0, x = 0, y = 0;
        for (int i = 0; i < h * w; ++i) {
          p[i] = std::exp(Dtype(param.beta()) * (map[i] - map[best]));
          sum += p[i];
          x += p[i] * Pixel(i % w);
          y += p[i] * Pixel(i / w);
        }
        caffe_scal(h * w, 1 / sum, p);
        joint[0] = x / sum;
        joint[1] = y / sum;
      }
    }
  }
}

template <typename Dtype>
void SpatialSoftArgMaxLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!propagate_down[0]) {
    return;
  }
  const SpatialSoftArgMaxParameter& param = this->layer_param_.spatial_soft_arg_max_param();
  const int J = channels_.size(), h = bottom[0]->height(), w = bottom[0]->width();
  caffe_set(bottom[0]->count(), Dtype(0), bottom[0]->mutable_cpu_diff());
  if (param.mode() != SpatialSoftArgMaxParameter_Mode_SOFT) {
    return;
  }
  for (int f = 0; f < bottom[0]->num(); ++f) {
    for (int j = 0; j < J; ++j) {
      const Dtype* p = probability_.cpu_data() + (f * J + j) * h * w;
      const Dtype* joint = top[0]->cpu_data() + (f * J + j) * 3;
      const Dtype* g = top[0]->cpu_diff() + (f * J + j) * 3;
      Dtype* diff = bottom[0]->mutable_cpu_diff() + bottom[0]->offset(f, channels_[j]);
      for (int i = 0; i < h * w; ++i) {  // added: two joints may read one map
        diff[i] += param.beta() * p[i] * (g[0] * (Pixel(i % w) - joint[0]) + g[1] * (Pixel(i / w) - joint[1]));
      }
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(SpatialSoftArgMaxLayer);
#endif

INSTANTIATE_CLASS(SpatialSoftArgMaxLayer);
REGISTER_LAYER_CLASS(SpatialSoftArgMax);

}  // namespace caffe
