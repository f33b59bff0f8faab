#include <vector>

#include "caffe/layers/pairwise_distance_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/pair_distance.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

template <typename Dtype>
bool PairwiseDistanceLayer<Dtype>::UnitFeatures() const {
  return this->layer_param_.pairwise_distance_param().feature_norm() == L2_UNIT;
}

template <typename Dtype>
void PairwiseDistanceLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LAYER_REQUIRE(bottom[0]->num_axes() >= 2) << "the features must be V x C, not " << bottom[0]->shape_string();
  top[0]->Reshape(vector<int>(2, bottom[0]->shape(0)));
  if (UnitFeatures()) {
    unit_.ReshapeLike(*bottom[0]);
    feature_norm_.Reshape(vector<int>(1, bottom[0]->shape(0)));
  }
}

template <typename Dtype>
void PairwiseDistanceLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int V = bottom[0]->shape(0), C = bottom[0]->count(1);
  const Dtype* g = bottom[0]->cpu_data();
  if (UnitFeatures()) {
    UnitRows(V, C, g, unit_.mutable_cpu_data(), feature_norm_.mutable_cpu_data());
    g = unit_.cpu_data();
  }
  PairDistances(V, C, g, C, top[0]->mutable_cpu_data(), this->layer_param_.pairwise_distance_param().squared());
}

template <typename Dtype>
void PairwiseDistanceLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!propagate_down[0]) {
    return;
  }
  const int V = bottom[0]->shape(0), C = bottom[0]->count(1);
  const Dtype* diff = top[0]->cpu_diff();
  vector<Dtype> k(V * V);
  for (int i = 0; i < V; ++i) {
    for (int j = 0; j < V; ++j) {
      k[i * V + j] = diff[i * V + j] + diff[j * V + i];
    }
  }
  const Dtype* g = UnitFeatures() ? unit_.cpu_data() : bottom[0]->cpu_data();
  Dtype* dg = bottom[0]->mutable_cpu_diff();
  caffe_set(bottom[0]->count(), Dtype(0), dg);
  PairDistancesBackward(V, C, g, top[0]->cpu_data(), k.data(), C, dg,
      this->layer_param_.pairwise_distance_param().squared());
  if (UnitFeatures()) {
    UnitRowsBackward(V, C, g, feature_norm_.cpu_data(), dg);
  }
}

#ifdef CPU_ONLY
STUB_GPU(PairwiseDistanceLayer);
#endif

INSTANTIATE_CLASS(PairwiseDistanceLayer);
REGISTER_LAYER_CLASS(PairwiseDistance);

}  // namespace caffe
