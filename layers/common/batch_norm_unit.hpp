#ifndef CAFFE_UTIL_BATCH_NORM_UNIT_HPP_
#define CAFFE_UTIL_BATCH_NORM_UNIT_HPP_

#include <vector>

#include "caffe/layers/batch_norm_layer.hpp"

namespace caffe {

/**
 * @brief A BatchNorm in place, a Scale with bias and a ReLU in place, neighbours in a net, which it computes in one pass
 *        over the data instead of three: on the GPU one launch each way where there were three.
 *
 * All blobs end as after the three layers, but that rounding differs in the gradients. So a net may at any time run the
 * layers one by one instead, for those who look at each.
 */
template <typename Dtype>
class BatchNormUnit {
 public:
  static const int kLayers = 3;

  /// The unit of the three layers with these bottoms and tops, or NULL where they are none. The caller deletes it.
  static BatchNormUnit* Find(const shared_ptr<Layer<Dtype> >* layers, const vector<Blob<Dtype>*>* bottoms,
      const vector<Blob<Dtype>*>* tops);
  /// Whether Backward may be called: all three layers' `propagate_down` are wanted, and the Scale's parameters' gradients.
  bool LearnsAll(const vector<bool>* propagate_down) const;
  void Forward();
  void Backward();

 private:
  BatchNormUnit(const shared_ptr<Layer<Dtype> >* layers, const vector<Blob<Dtype>*>* bottoms,
      const vector<Blob<Dtype>*>* tops);
  typename BatchNormLayer<Dtype>::Follow Behind() const;

  const vector<shared_ptr<Layer<Dtype> > > layers_;
  const vector<vector<Blob<Dtype>*> > bottoms_, tops_;
};

}  // namespace caffe

#endif  // CAFFE_UTIL_BATCH_NORM_UNIT_HPP_
