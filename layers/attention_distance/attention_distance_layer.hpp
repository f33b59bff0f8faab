#ifndef CAFFE_ATTENTION_DISTANCE_LAYER_HPP_
#define CAFFE_ATTENTION_DISTANCE_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief The local distance between all pairs of videos (Eq. 8):
 *        @f$ \psi_{ij} = \sum_r w_i^r w_j^r \|f_i^r - f_j^r\|_2, \quad w_i^r = \bar a_i^r / \|\bar a_i\| @f$.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (V \times R \times C) @f$ parts @f$ f_i^r @f$ of AttentionPooling
 *   -# @f$ (V \times R) @f$ weights @f$ \bar a_i^r \ge 0 @f$ of AttentionPooling
 * @param top output Blob vector (length 1)
 *   -# @f$ (V \times V) @f$ distances, symmetric, 0 on the diagonal
 *
 * A video whose weights are all 0 counts as one with equal weights, and its weights get no gradient.
 * The derivative of a distance that is 0 is taken as 0, as is the sign of a weight that is 0.
 *
 * Differs from the paper: nothing by default in the forward pass; the backward pass is the derivative, not Eq. 10-13 as
 * printed (gradient: PAPER has those).
 */
template <typename Dtype>
class AttentionDistanceLayer : public Layer<Dtype> {
 public:
  /**
   * @param param provides AttentionDistanceParameter attention_distance_param, with options:
   *   - norm (default L1). The norm in @f$ w @f$: L1 is the one whose derivative Eq. 12 is.
   *   - spatial (default true). false: all scores count as 1.
   *   - gradient (default EXACT). PAPER: Eq. 10, second line, and Eq. 12 as printed.
   *   - feature_norm (default UNNORMALIZED). L2_UNIT: each @f$ f_i^r @f$ is brought to unit length first.
   */
  explicit AttentionDistanceLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "AttentionDistance"; }
  virtual inline int ExactNumBottomBlobs() const { return 2; }
  virtual inline int ExactNumTopBlobs() const { return 1; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /**
   * @brief With @f$ S_{ij} @f$ the top's gradients of (i, j) and (j, i) together and d the part distances:
   *   @f$ \partial L / \partial f_i^r = \sum_j S_{ij} w_i^r w_j^r (f_i^r - f_j^r) / d_{ij}^r @f$,
   *   @f$ \omega_i^r = \partial L / \partial w_i^r = \sum_j S_{ij} w_j^r d_{ij}^r @f$, and
   *   @f$ \partial L / \partial \bar a_i^r = (\omega_i^r - \mathrm{sgn}(\bar a_i^r) \sum_q \omega_i^q w_i^q) /
   *   \|\bar a_i\| @f$ for L1, with @f$ w_i^r @f$ in place of the sign for L2.
   *   PAPER: @f$ \partial L / \partial \bar a_i^r = (\sum_q \omega_i^q) (1 - w_i^r) / \|\bar a_i\| @f$.
   */
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  bool UnitFeatures() const;

  Blob<Dtype> unit_;          // (V, R, C): f / ||f||, with feature_norm only
  Blob<Dtype> feature_norm_;  // (V, R): ||f||
  Blob<Dtype> distance_;      // (R, V, V): d
  Blob<Dtype> weight_;        // (V, R): w
  Blob<Dtype> weight_norm_;   // (V): ||a||; 0 where the weights were taken as equal
};

}  // namespace caffe

#endif  // CAFFE_ATTENTION_DISTANCE_LAYER_HPP_
