#ifndef CAFFE_ATTENTION_POOLING_LAYER_HPP_
#define CAFFE_ATTENTION_POOLING_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief Aggregates the part features of a video's frames by their attention scores (Eq. 9), and the scores by their
 *        mean: @f$ f^r = \frac{\sum_t a^{r,t} f^{r,t}}{\sum_t a^{r,t}}, \quad \bar a^r = \frac1T \sum_t a^{r,t} @f$.
 *
 * @param bottom input Blob vector (length R + 1)
 *   -# @f$ (F \times R) @f$ scores @f$ a^{r,t} \ge 0 @f$; F = V T rows, video-major: row v T + t is frame t of video v
 *   -# R times @f$ (F \times C) @f$: features @f$ f^{r,t} @f$ of part r, in the order of the scores' columns
 * @param top output Blob vector (length 2)
 *   -# @f$ (V \times R \times C) @f$ parts @f$ f^r @f$
 *   -# @f$ (V \times R) @f$ weights @f$ \bar a^r @f$
 *
 * A part whose scores in a video sum to 0 (or less) is averaged plainly, the limit of equal scores; its parts then pass
 * no gradient to the scores.
 *
 * Differs from the paper: nothing by default.
 */
template <typename Dtype>
class AttentionPoolingLayer : public Layer<Dtype> {
 public:
  /**
   * @param param provides AttentionPoolingParameter attention_pooling_param, with options:
   *   - frames (default 8). T.
   *   - temporal (default true). false: parts are plain means over the frames; weights stay.
   *   - gradient (default EXACT). PAPER: the gradient of weights reaches each score whole instead of divided by T,
   *     which is how Eq. 12 reads.
   */
  explicit AttentionPoolingLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "AttentionPooling"; }
  virtual inline int MinBottomBlobs() const { return 2; }
  virtual inline int ExactNumTopBlobs() const { return 2; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /**
   * @brief With the gradients @f$ p^r @f$ of parts and @f$ w^r @f$ of weights:
   *   @f$ \partial L / \partial f^{r,t} = \frac{a^{r,t}}{\sum_s a^{r,s}} p^r @f$ and (Eq. 11)
   *   @f$ \partial L / \partial a^{r,t} = \frac{p^r \cdot (f^{r,t} - f^r)}{\sum_s a^{r,s}} + \frac{w^r}{T} @f$.
   */
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  int frames_;             // T
  Blob<Dtype> fraction_;   // (F, R): a / sum_t a, or 1 / T
  Blob<Dtype> sum_;        // (V, R): sum_t a; 0 where the plain mean is taken
};

}  // namespace caffe

#endif  // CAFFE_ATTENTION_POOLING_LAYER_HPP_
