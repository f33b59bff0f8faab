#include <vector>

#include "caffe/layers/heat_maps_layer.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

/// A thread is one of the n = F h w cells, in all J maps and in the background's.
template <typename Dtype>
__global__ void HeatMapsForward(const int n, const Dtype* joints, const int* channels, const int J, const int cells,
    const int w, const Dtype stride, const Dtype sigma, Dtype* maps) {
  CUDA_KERNEL_LOOP(index, n) {
    const int i = index % cells, f = index / cells;
    const Dtype x = (i % w) * stride + (stride - 1) / 2, y = (i / w) * stride + (stride - 1) / 2;
    Dtype* cell = maps + f * (J + 1) * cells + i;
    Dtype background = 1;
    for (int j = 0; j < J; ++j) {
      const Dtype* joint = joints + (f * J + j) * 3;
      Dtype value = 0;
      if (joint[2] > 0) {
        const Dtype dx = (x - joint[0]) / sigma, dy = (y - joint[1]) / sigma;
        value = exp(-(dx * dx + dy * dy) / 2);
        background = 1 - value < background ? 1 - value : background;
      }
      cell[channels[j] * cells] = value;
    }
    cell[J * cells] = background;
  }
}

template <typename Dtype>
void HeatMapsLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const HeatMapsParameter& param = this->layer_param_.heat_maps_param();
  const int cells = top[0]->count(2), n = bottom[0]->shape(0) * cells;
  if (n == 0) {
    return;
  }
  // NOLINT_NEXT_LINE(whitespace/operators)
  HeatMapsForward<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(
      n, bottom[0]->gpu_data(), joint_channels_.gpu_data(), bottom[0]->shape(1), cells, top[0]->width(),
      param.stride(), param.sigma(), top[0]->mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void HeatMapsLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (propagate_down[0] && bottom[0]->count() > 0) {
    caffe_gpu_set(bottom[0]->count(), Dtype(0), bottom[0]->mutable_gpu_diff());
  }
}

INSTANTIATE_LAYER_GPU_FUNCS(HeatMapsLayer);

}  // namespace caffe
