#include <vector>

#include "caffe/layers/triplet_loss_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

template <typename Dtype>
void TripletLossLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LossLayer<Dtype>::LayerSetUp(bottom, top);
  const TripletLossParameter& param = this->layer_param_.triplet_loss_param();
  LAYER_REQUIRE(param.has_margin() && param.margin() >= 0) << "triplet_loss_param needs a margin of at least 0";
  const LossParameter_NormalizationMode mode = this->layer_param_.loss_param().normalization();
  LAYER_REQUIRE(mode == LossParameter_NormalizationMode_VALID || mode == LossParameter_NormalizationMode_NONE)
      << "normalization must be VALID (the mean over the triplets) or NONE (their sum)";
}

template <typename Dtype>
void TripletLossLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LAYER_REQUIRE(bottom[0]->num_axes() == 2 && bottom[0]->shape(0) == bottom[0]->shape(1))
      << "the distances must be V x V, not " << bottom[0]->shape_string();
  const int V = bottom[0]->shape(0);
  LAYER_REQUIRE(bottom[1]->count() == V) << "there are " << bottom[1]->count() << " labels for " << V << " videos";
  LAYER_REQUIRE(this->layer_param_.triplet_loss_param().triplets() != TripletLossParameter_Triplets_ORDERED ||
      V % 3 == 0) << V << " videos are no whole number of (anchor, positive, negative); use triplets: ALL or HARD";
  top[0]->Reshape(vector<int>());
  const int chosen_shape[] = {V, 2};
  chosen_.Reshape(vector<int>(chosen_shape, chosen_shape + 2));
  normalizer_on_gpu_.Reshape(vector<int>(1, 1));
}

template <typename Dtype>
void TripletLossLayer<Dtype>::RequireOrder(int V, const Dtype* label) const {
  for (int a = 0; a < V; a += 3) {
    LAYER_REQUIRE(label[a] == label[a + 1] && label[a] != label[a + 2]) << "videos " << a << ", " << a + 1 << ", "
        << a + 2 << " have labels " << label[a] << ", " << label[a + 1] << ", " << label[a + 2]
        << ", which is no (anchor, positive, negative); use triplets: ALL or HARD";
  }
}

template <typename Dtype>
vector<typename TripletLossLayer<Dtype>::Triplet> TripletLossLayer<Dtype>::Triplets(int V, const Dtype* d,
    const Dtype* label) const {
  const TripletLossParameter_Triplets kind = this->layer_param_.triplet_loss_param().triplets();
  vector<Triplet> triplets;
  if (kind == TripletLossParameter_Triplets_ORDERED) {
    RequireOrder(V, label);
    for (int a = 0; a < V; a += 3) {
      triplets.push_back(Triplet{a, a + 1, a + 2});
    }
    return triplets;
  }
  for (int a = 0; a < V; ++a) {
    Triplet hardest = {a, -1, -1};
    for (int i = 0; i < V; ++i) {
      if (i != a && label[i] == label[a]) {
        if (hardest.positive < 0 || d[a * V + i] > d[a * V + hardest.positive]) {
          hardest.positive = i;
        }
        for (int n = 0; kind == TripletLossParameter_Triplets_ALL && n < V; ++n) {
          if (label[n] != label[a]) {
            triplets.push_back(Triplet{a, i, n});
          }
        }
      } else if (label[i] != label[a] && (hardest.negative < 0 || d[a * V + i] < d[a * V + hardest.negative])) {
        hardest.negative = i;
      }
    }
    if (kind == TripletLossParameter_Triplets_HARD && hardest.positive >= 0 && hardest.negative >= 0) {
      triplets.push_back(hardest);
    }
  }
  return triplets;
}

template <typename Dtype>
void TripletLossLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int V = bottom[0]->shape(0);
  const Dtype margin = this->layer_param_.triplet_loss_param().margin();
  const Dtype* d = bottom[0]->cpu_data();
  const vector<Triplet> triplets = Triplets(V, d, bottom[1]->cpu_data());
  const bool mean = this->layer_param_.loss_param().normalization() == LossParameter_NormalizationMode_VALID;
  normalizer_ = triplets.empty() ? Dtype(0) : Dtype(1) / (mean ? triplets.size() : 1);
  open_.clear();
  Dtype sum = 0;
  for (const Triplet& triplet : triplets) {
    const Dtype hinge = d[triplet.anchor * V + triplet.positive] - d[triplet.anchor * V + triplet.negative] + margin;
    if (!(hinge <= 0)) {  // a NaN distance must show in the loss
      sum += hinge;
      open_.push_back(triplet);
    }
  }
  top[0]->mutable_cpu_data()[0] = sum * normalizer_;
}

template <typename Dtype>
void TripletLossLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  LAYER_REQUIRE(!propagate_down[1]) << "a label has no gradient";
  if (!propagate_down[0]) {
    return;
  }
  const int V = bottom[0]->shape(0);
  const Dtype step = top[0]->cpu_diff()[0] * normalizer_;
  Dtype* dd = bottom[0]->mutable_cpu_diff();
  caffe_set(V * V, Dtype(0), dd);
  for (const Triplet& triplet : open_) {
    dd[triplet.anchor * V + triplet.positive] += step;
    dd[triplet.anchor * V + triplet.negative] -= step;
  }
}

#ifdef CPU_ONLY
STUB_GPU(TripletLossLayer);
#endif

INSTANTIATE_CLASS(TripletLossLayer);
REGISTER_LAYER_CLASS(TripletLoss);

}  // namespace caffe
