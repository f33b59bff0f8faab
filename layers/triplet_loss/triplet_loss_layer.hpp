#ifndef CAFFE_TRIPLET_LOSS_LAYER_HPP_
#define CAFFE_TRIPLET_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layers/loss_layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief One of the two sums of Eq. 4, on a matrix of distances:
 *        @f$ \frac1N \sum_{(a,p,n)} [d_{ap} - d_{an} + m]_+ @f$ over N triplets of videos.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (V \times V) @f$ distances d
 *   -# @f$ (V) @f$ labels
 * @param top output Blob vector (length 1)
 *   -# (scalar) the loss; give lambda of Eq. 4 as its loss_weight
 *
 * A batch without a triplet has loss 0. The hinge's derivative at its corner is 0.
 *
 * Differs from the paper: the mean over the triplets, not the sum (loss_param { normalization: NONE } sums).
 */
template <typename Dtype>
class TripletLossLayer : public LossLayer<Dtype> {
 public:
  /**
   * @param param provides TripletLossParameter triplet_loss_param, with options:
   *   - margin m, required, at least 0.
   *   - triplets (default ORDERED). ORDERED: videos 3k, 3k+1, 3k+2 are anchor, positive, negative. ALL: every triplet
   *     of the batch. HARD: each anchor's farthest positive with its nearest negative; the first one on ties.
   *   and LossParameter loss_param: normalization VALID (default) divides by the number of triplets, active or not;
   *   NONE by 1.
   */
  explicit TripletLossLayer(const LayerParameter& param) : LossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "TripletLoss"; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /**
   * @brief Adds loss_weight / N to the gradient of @f$ d_{ap} @f$ and takes it from that of @f$ d_{an} @f$ for each
   *        triplet whose hinge is open. propagate_down[1] must be false: a label has no gradient.
   */
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  struct Triplet {
    int anchor, positive, negative;
  };
  /// Refuses labels of which videos 3k, 3k+1, 3k+2 are no (anchor, positive, negative). On the GPU that is for labels
  /// that lie on the host, as a data layer leaves them; wrong ones that do not make loss and gradient NaN.
  void RequireOrder(int V, const Dtype* label) const;
  /// The triplets that the labels (and, for HARD, the distances) give.
  vector<Triplet> Triplets(int V, const Dtype* d, const Dtype* label) const;

  vector<Triplet> open_;            // CPU: triplets with a hinge above 0, from Forward
  Dtype normalizer_;                // CPU: 1 / N or 1; 0 without triplets
  Blob<int> chosen_;                // GPU: (V, 2), each anchor's positive and negative, -1 for none; not for ALL
  Blob<Dtype> normalizer_on_gpu_;   // GPU: (1)
};

}  // namespace caffe

#endif  // CAFFE_TRIPLET_LOSS_LAYER_HPP_
