#ifndef CAFFE_CONSISTENCY_LOSS_LAYER_HPP_
#define CAFFE_CONSISTENCY_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layers/loss_layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief The consistency constraint (Eq. 6): each part's features must tell the person, with one softmax matrix
 *        @f$ W^r @f$ a part, shared by the frames:
 *        @f$ \frac{1}{F R} \sum_{i,t,r} -\log \frac{\exp(W^r_{y_i} f_i^{r,t})}{\sum_k \exp(W^r_k f_i^{r,t})} @f$.
 *
 * @param bottom input Blob vector
 *   FRAMES (length R + 1)
 *   -# R times @f$ (F \times C) @f$: features of part r; F = V T rows, video-major
 *   -# @f$ (V) @f$ labels, 0 .. K - 1, one a video
 *   WEIGHTED_FRAMES (length R + 2): the same, then
 *   -# @f$ (F \times R) @f$ scores @f$ a^{r,t} \ge 0 @f$
 *   AGGREGATED (length 2)
 *   -# @f$ (V \times R \times C) @f$ parts of AttentionPooling
 *   -# @f$ (V) @f$ labels
 * @param top output Blob vector (length 1)
 *   -# (scalar) the loss
 *
 * Parameter blob: @f$ (R \times K \times C) @f$, the softmax matrices; no bias, as in Eq. 6.
 * WEIGHTED_FRAMES weights frame t by @f$ a^{r,t} / \sum_s a^{r,s} @f$ and divides by V R; scores that sum to 0 in a
 * video count as equal ones and get no gradient.
 *
 * Differs from the paper: the minus and the logarithm that Eq. 6 lacks; the mean instead of the sum
 * (loss_param { normalization: NONE } sums). WEIGHTED_FRAMES and AGGREGATED are ours.
 */
template <typename Dtype>
class ConsistencyLossLayer : public LossLayer<Dtype> {
 public:
  /**
   * @param param provides ConsistencyLossParameter consistency_loss_param, with options:
   *   - input (default FRAMES). What the softmax sees: see bottom.
   *   - num_output. K, required.
   *   - frames (default 8). T; not read for AGGREGATED.
   *   - weight_filler (default constant 0).
   *   and LossParameter loss_param: normalization VALID (default) or NONE.
   */
  explicit ConsistencyLossLayer(const LayerParameter& param) : LossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "ConsistencyLoss"; }
  virtual inline int ExactNumBottomBlobs() const { return -1; }
  virtual inline int MinBottomBlobs() const { return 2; }
  virtual inline bool AllowForceBackward(const int bottom_index) const { return bottom_index != label_; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /**
   * @brief With @f$ p @f$ the softmax, @f$ e_y @f$ the label's unit vector, c each row's factor in the loss:
   *   @f$ \partial L / \partial f = c\, W^{rT} (p - e_y) @f$, @f$ \partial L / \partial W^r \mathrel{+}= \sum c\,
   *   (p - e_y) f^T @f$, and for WEIGHTED_FRAMES @f$ \partial L / \partial a^{r,t} =
   *   (\ell^{r,t} - \sum_s \frac{a^{r,s}}{\sum a} \ell^{r,s}) / (V R \sum_s a^{r,s}) @f$ with the row losses
   *   @f$ \ell @f$. The label's propagate_down must be false.
   */
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  /// Refuses labels that are none of 0 .. K - 1. On the GPU that is for labels that lie on the host, as a data layer
  /// leaves them; a wrong one that does not makes loss and gradients NaN.
  void RequireLabels(const Dtype* label) const;
  /// What all rows' factors have in common: 1 / (F R), for WEIGHTED_FRAMES 1 / (V R); 1 for the sum.
  Dtype Scale() const;
  /// Features of part r as contiguous rows (rows_ x C_): the bottom itself, or a copy out of (V, R, C).
  const Dtype* PartFeatures(const vector<Blob<Dtype>*>& bottom, int r);

  ConsistencyLossParameter_Input input_;
  int R_, C_, K_, T_;         // T_ rows share a label: frames, or 1 for AGGREGATED
  int rows_;                  // F or V
  int label_;                 // index of the labels' bottom
  Blob<Dtype> probability_;   // (R, rows, K); its diff on the GPU: the logits'
  Blob<Dtype> row_loss_;      // (R, rows)
  Blob<Dtype> factor_;        // (R, rows): each row's factor in the loss
  Blob<Dtype> score_sum_;     // (R, V): sum_t a; 0 where the frames count equally
  Blob<Dtype> gathered_;      // (rows, C): one part of (V, R, C), and its gradient; CPU only
  Blob<Dtype> logit_diff_;    // (rows, K); CPU only
};

}  // namespace caffe

#endif  // CAFFE_CONSISTENCY_LOSS_LAYER_HPP_
