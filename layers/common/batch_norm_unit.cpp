#include <vector>

#include "caffe/layers/relu_layer.hpp"
#include "caffe/layers/scale_layer.hpp"
#include "caffe/util/batch_norm_unit.hpp"

namespace caffe {

template <typename Dtype>
BatchNormUnit<Dtype>* BatchNormUnit<Dtype>::Find(const shared_ptr<Layer<Dtype> >* layers,
    const vector<Blob<Dtype>*>* bottoms, const vector<Blob<Dtype>*>* tops) {
  if (!dynamic_cast<BatchNormLayer<Dtype>*>(layers[0].get()) || !dynamic_cast<ScaleLayer<Dtype>*>(layers[1].get()) ||
      !dynamic_cast<ReLULayer<Dtype>*>(layers[2].get()) || layers[0]->loss(0) || layers[1]->loss(0) ||
      layers[2]->loss(0)) {
    return NULL;
  }
  const Blob<Dtype>* normalized = tops[0][0];
  const Blob<Dtype>* scaled = tops[1][0];
  if (bottoms[0][0] != normalized || normalized->num_axes() < 2 || bottoms[1].size() != 1 || bottoms[1][0] != normalized ||
      scaled == normalized || bottoms[2][0] != scaled || tops[2][0] != scaled) {
    return NULL;
  }
  if (normalized->CanonicalAxisIndex(layers[1]->layer_param().scale_param().axis()) != 1 ||
      layers[1]->blobs().size() != 2 || layers[1]->blobs()[0]->num_axes() != 1 ||
      layers[2]->layer_param().relu_param().negative_slope() != 0) {
    return NULL;
  }
  return new BatchNormUnit(layers, bottoms, tops);
}

template <typename Dtype>
BatchNormUnit<Dtype>::BatchNormUnit(const shared_ptr<Layer<Dtype> >* layers, const vector<Blob<Dtype>*>* bottoms,
    const vector<Blob<Dtype>*>* tops)
    : layers_(layers, layers + kLayers), bottoms_(bottoms, bottoms + kLayers), tops_(tops, tops + kLayers) {}

template <typename Dtype>
bool BatchNormUnit<Dtype>::LearnsAll(const vector<bool>* propagate_down) const {
  for (int i = 0; i < kLayers; ++i) {
    if (!propagate_down[i][0]) {
      return false;
    }
  }
  return layers_[1]->param_propagate_down(0) && layers_[1]->param_propagate_down(1);
}

template <typename Dtype>
typename BatchNormLayer<Dtype>::Follow BatchNormUnit<Dtype>::Behind() const {
  const vector<shared_ptr<Blob<Dtype> > >& blobs = layers_[1]->blobs();
  return {blobs[0].get(), blobs[1].get(), tops_[1][0]};
}

template <typename Dtype>
void BatchNormUnit<Dtype>::Forward() {
  for (int i = 0; i < kLayers; ++i) {
    layers_[i]->Reshape(bottoms_[i], tops_[i]);
  }
  static_cast<BatchNormLayer<Dtype>*>(layers_[0].get())->ForwardThrough(bottoms_[0][0], Behind());
}

template <typename Dtype>
void BatchNormUnit<Dtype>::Backward() {
  static_cast<BatchNormLayer<Dtype>*>(layers_[0].get())->BackwardThrough(bottoms_[0][0], Behind());
}

INSTANTIATE_CLASS(BatchNormUnit);

}  // namespace caffe
