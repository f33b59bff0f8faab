#ifndef CAFFE_PAIRWISE_DISTANCE_LAYER_HPP_
#define CAFFE_PAIRWISE_DISTANCE_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief The global distance between all pairs of videos: @f$ d_g(i, j) = \|g_i - g_j\|_2 @f$ (section III-A),
 *        or its square.
 *
 * @param bottom input Blob vector (length 1)
 *   -# @f$ (V \times C) @f$ global features @f$ g_i @f$
 * @param top output Blob vector (length 1)
 *   -# @f$ (V \times V) @f$ distances, symmetric, 0 on the diagonal
 *
 * The derivative of a distance that is 0 is taken as 0. A squared one has that derivative.
 *
 * Differs from the paper: nothing by default.
 */
template <typename Dtype>
class PairwiseDistanceLayer : public Layer<Dtype> {
 public:
  /**
   * @param param provides PairwiseDistanceParameter pairwise_distance_param, with options:
   *   - feature_norm (default UNNORMALIZED). L2_UNIT: each @f$ g_i @f$ is brought to unit length first.
   *   - squared (default false). @f$ d_g(i, j) = \|g_i - g_j\|_2^2 @f$, as the metric losses of QAN take it.
   */
  explicit PairwiseDistanceLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "PairwiseDistance"; }
  virtual inline int ExactNumBottomBlobs() const { return 1; }
  virtual inline int ExactNumTopBlobs() const { return 1; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /**
   * @brief With @f$ S_{ij} @f$ the top's gradients of (i, j) and (j, i) together:
   *   @f$ \partial L / \partial g_i = \sum_j S_{ij} (g_i - g_j) / d_g(i, j) @f$; squared,
   *   @f$ \sum_j 2 S_{ij} (g_i - g_j) @f$.
   */
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  bool UnitFeatures() const;

  Blob<Dtype> unit_;          // (V, C): g / ||g||, with feature_norm only
  Blob<Dtype> feature_norm_;  // (V): ||g||
};

}  // namespace caffe

#endif  // CAFFE_PAIRWISE_DISTANCE_LAYER_HPP_
