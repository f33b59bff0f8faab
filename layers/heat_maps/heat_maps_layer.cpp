#include <algorithm>
#include <cmath>
#include <vector>

#include "caffe/layers/heat_maps_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

template <typename Dtype>
void HeatMapsLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const HeatMapsParameter& param = this->layer_param_.heat_maps_param();
  LAYER_REQUIRE(param.height() > 0 && param.width() > 0) << "heat_maps_param needs height and width";
  LAYER_REQUIRE(param.stride() > 0 && param.sigma() > 0) << "stride and sigma must be above 0";
}

template <typename Dtype>
void HeatMapsLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const HeatMapsParameter& param = this->layer_param_.heat_maps_param();
  LAYER_REQUIRE(bottom[0]->num_axes() == 3 && bottom[0]->shape(2) == 3)
      << "the joints must be F x J x 3, not " << bottom[0]->shape_string();
  const int J = bottom[0]->shape(1);
  vector<int> order(J);
  for (int j = 0; j < J; ++j) {
    order[j] = j;
  }
  vector<int> channels = order;
  if (param.channel_size() > 0) {
    channels.assign(param.channel().begin(), param.channel().end());
    LAYER_REQUIRE(channels.size() == J && std::is_permutation(order.begin(), order.end(), channels.begin()))
        << "channel must list each of 0 .. " << J - 1 << " once, the maps of the bottom's " << J << " joints";
  }
  if (channels != channels_) {  // not in each pass: the kernels' copy would travel again
    channels_ = channels;
    joint_channels_.Reshape(vector<int>(1, J));
    std::copy(channels.begin(), channels.end(), joint_channels_.mutable_cpu_data());
  }
  top[0]->Reshape(bottom[0]->shape(0), J + 1, param.height(), param.width());
}

template <typename Dtype>
void HeatMapsLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const HeatMapsParameter& param = this->layer_param_.heat_maps_param();
  const int F = bottom[0]->shape(0), J = bottom[0]->shape(1), cells = top[0]->count(2), w = top[0]->width();
  const Dtype stride = param.stride(), sigma = param.sigma();
  const Dtype* joints = bottom[0]->cpu_data();
  Dtype* maps = top[0]->mutable_cpu_data();
#pragma omp parallel for
  for (int f = 0; f < F; ++f) {
    Dtype* background = maps + (f * (J + 1) + J) * cells;
    std::fill(background, background + cells, Dtype(1));
    for (int j = 0; j < J; ++j) {
      const Dtype* joint = joints + (f * J + j) * 3;
      Dtype* map = maps + (f * (J + 1) + channels_[j]) * cells;
      if (!(joint[2] > 0)) {
        std::fill(map, map + cells, Dtype(0));
        continue;
      }
      for (int i = 0; i < cells; ++i) {
        const Dtype dx = ((i % w) * stride + (stride - 1) / 2 - joint[0]) / sigma;
        const Dtype dy = ((i / w) * stride + (stride - 1) / 2 - joint[1]) / sigma;
        map[i] = std::exp(-(dx * dx + dy * dy) / 2);
        background[i] = std::min(background[i], 1 - map[i]);
      }
    }
  }
}

template <typename Dtype>
void HeatMapsLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (propagate_down[0]) {
    caffe_set(bottom[0]->count(), Dtype(0), bottom[0]->mutable_cpu_diff());
  }
}

#ifdef CPU_ONLY
STUB_GPU(HeatMapsLayer);
#endif

INSTANTIATE_CLASS(HeatMapsLayer);
REGISTER_LAYER_CLASS(HeatMaps);

}  // namespace caffe
