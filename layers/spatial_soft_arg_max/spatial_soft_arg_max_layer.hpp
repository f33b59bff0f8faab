#ifndef CAFFE_SPATIAL_SOFT_ARG_MAX_LAYER_HPP_
#define CAFFE_SPATIAL_SOFT_ARG_MAX_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief Joints from heat maps: the cell of the maximum, or the mean cell under a softmax over the map.
 *
 * @param bottom input Blob vector (length 1)
 *   -# @f$ (F \times J' \times h \times w) @f$ heat maps m
 * @param top output Blob vector (length 1)
 *   -# @f$ (F \times J \times 3) @f$ joints: x, y in input pixels, and the map's maximum as the confidence
 *
 * Cell c of an axis lies at input pixel @f$ c \cdot stride + (stride - 1) / 2 @f$, the centre of the pixels it covers.
 *
 * Differs from the paper: it takes the joints' maximum (SpindleNet's pose net), which is the default here; SOFT is ours,
 * and the only mode with a gradient.
 */
template <typename Dtype>
class SpatialSoftArgMaxLayer : public Layer<Dtype> {
 public:
  /**
   * @param param provides SpatialSoftArgMaxParameter spatial_soft_arg_max_param, with options:
   *   - mode (default ARG_MAX). ARG_MAX: the first highest cell. SOFT: the mean under softmax(beta m).
   *   - beta (default 1). Sharpness of SOFT, above 0.
   *   - stride (default 1). Input pixels per cell.
   *   - channel. Map of each joint, from 0; default: the first `joints` (default 14) maps.
   */
  explicit SpatialSoftArgMaxLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "SpatialSoftArgMax"; }
  virtual inline int ExactNumBottomBlobs() const { return 1; }
  virtual inline int ExactNumTopBlobs() const { return 1; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /**
   * @brief SOFT, with the softmax p and the top's gradients @f$ g_x, g_y @f$: the gradient of cell (r, c) is
   *   @f$ \beta\, p_{rc} (g_x (x_c - x) + g_y (y_r - y)) @f$. The confidence passes none; ARG_MAX gives zeros.
   */
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  Dtype Pixel(int cell) const;

  vector<int> channels_;      // map of each joint
  Blob<int> joint_channels_;  // the same for the kernels
  Blob<Dtype> probability_;   // (F, J, h, w), SOFT only
};

}  // namespace caffe

#endif  // CAFFE_SPATIAL_SOFT_ARG_MAX_LAYER_HPP_
