#ifndef CAFFE_L1_NORMALIZE_LAYER_HPP_
#define CAFFE_L1_NORMALIZE_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief Divides the @f$ T \times R @f$ score map of each video by its L1 norm (section III-C):
 *        @f$ y = a / (\epsilon + \sum_{t,r} |a^{r,t}|) @f$.
 *
 * @param bottom input Blob vector (length 1)
 *   -# @f$ (F \times R) @f$ scores @f$ a^{r,t} @f$, F = V T rows, video-major
 * @param top output Blob vector (length 1)
 *   -# @f$ (F \times R) @f$ scores whose absolute values sum to 1 over a video, or to 0 where all of them were 0
 *
 * Differs from the paper: the epsilon. The norm cancels in Eq. 8 and 9; the layer stays for the map's sake.
 */
template <typename Dtype>
class L1NormalizeLayer : public Layer<Dtype> {
 public:
  /**
   * @param param provides L1NormalizeParameter l1_normalize_param, with options:
   *   - frames (default 8). T.
   *   - eps (default 1e-12). Makes 0/0 a 0; far below any sum of sigmoids.
   */
  explicit L1NormalizeLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "L1Normalize"; }
  virtual inline int ExactNumBottomBlobs() const { return 1; }
  virtual inline int ExactNumTopBlobs() const { return 1; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /**
   * @brief With the top's gradient @f$ g @f$ and the norm n:
   *   @f$ \partial L / \partial a = (g - \mathrm{sgn}(a) \sum g y) / n @f$, the sum over the video's map. A map
   *   of zeros gives g / eps: finite, and a sigmoid that gave the zeros passes none of it on.
   */
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  Blob<Dtype> norm_;  // (V): n, with eps
};

}  // namespace caffe

#endif  // CAFFE_L1_NORMALIZE_LAYER_HPP_
