#include <vector>

#include "caffe/layers/l1_normalize_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

template <typename Dtype>
void L1NormalizeLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LAYER_REQUIRE(this->layer_param_.l1_normalize_param().frames() > 0) << "frames must be at least 1";
  LAYER_REQUIRE(this->layer_param_.l1_normalize_param().eps() > 0) << "eps must be above 0";
  LAYER_REQUIRE(bottom[0] != top[0]) << "the top must be another blob than the bottom, Backward reads both";
}

template <typename Dtype>
void L1NormalizeLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int F = bottom[0]->shape(0), T = this->layer_param_.l1_normalize_param().frames();
  LAYER_REQUIRE(F % T == 0) << "the scores have " << F << " rows, not a multiple of frames " << T;
  top[0]->ReshapeLike(*bottom[0]);
  norm_.Reshape(vector<int>(1, F / T));
}

template <typename Dtype>
void L1NormalizeLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int V = norm_.count(), map = this->layer_param_.l1_normalize_param().frames() * bottom[0]->count(1);  // T * R
  for (int v = 0; v < V; ++v) {
    const Dtype* a = bottom[0]->cpu_data() + v * map;
    const Dtype norm = caffe_cpu_asum(map, a) + this->layer_param_.l1_normalize_param().eps();
    norm_.mutable_cpu_data()[v] = norm;
    caffe_cpu_scale(map, 1 / norm, a, top[0]->mutable_cpu_data() + v * map);
  }
}

template <typename Dtype>
void L1NormalizeLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!propagate_down[0]) {
    return;
  }
  const int V = norm_.count(), map = this->layer_param_.l1_normalize_param().frames() * bottom[0]->count(1);  // T * R
  for (int v = 0; v < V; ++v) {
    const Dtype* a = bottom[0]->cpu_data() + v * map;
    const Dtype* g = top[0]->cpu_diff() + v * map;
    const Dtype along = caffe_cpu_dot(map, g, top[0]->cpu_data() + v * map);
    Dtype* da = bottom[0]->mutable_cpu_diff() + v * map;
    for (int i = 0; i < map; ++i) {
      da[i] = (g[i] - caffe_sign(a[i]) * along) / norm_.cpu_data()[v];
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(L1NormalizeLayer);
#endif

INSTANTIATE_CLASS(L1NormalizeLayer);
REGISTER_LAYER_CLASS(L1Normalize);

}  // namespace caffe
