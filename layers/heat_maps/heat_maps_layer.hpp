#ifndef CAFFE_HEAT_MAPS_LAYER_HPP_
#define CAFFE_HEAT_MAPS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief A pose net's targets: a Gaussian about each joint, and a map of the background that the joints leave.
 *
 * @param bottom input Blob vector (length 1)
 *   -# @f$ (F \times J \times 3) @f$ joints: x, y in pixels of the image, and the confidence
 * @param top output Blob vector (length 1)
 *   -# @f$ (F \times (J + 1) \times h \times w) @f$ maps, in 0 .. 1: at the cell with pixel (X, Y)
 *      @f$ m = e^{-((X - x)^2 + (Y - y)^2) / (2 \sigma^2)} @f$, and last @f$ 1 - \max_j m_j @f$
 *
 * Cell c of an axis lies at pixel @f$ c \cdot stride + (stride - 1) / 2 @f$, as in SpatialSoftArgMax. A joint may lie off
 * the image. One with a confidence of 0 or less is not annotated: its map is 0, and it takes nothing from the background.
 *
 * Differs from the paper: it does not say how its pose net is refined. The maps are those of CPM, which SpindleNet's pose
 * net descends from.
 */
template <typename Dtype>
class HeatMapsLayer : public Layer<Dtype> {
 public:
  /**
   * @param param provides HeatMapsParameter heat_maps_param, with options:
   *   - height, width, required. h, w in cells.
   *   - stride (default 1). Image pixels per cell, above 0.
   *   - sigma (default 1). Image pixels, above 0.
   *   - channel. Map of each joint, from 0: a permutation of 0 .. J-1; default: joint j has map j.
   */
  explicit HeatMapsLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "HeatMaps"; }
  virtual inline int ExactNumBottomBlobs() const { return 1; }
  virtual inline int ExactNumTopBlobs() const { return 1; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /// @brief Targets pass no gradient: the joints get zeros.
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  vector<int> channels_;      // map of each joint
  Blob<int> joint_channels_;  // the same for the kernels
};

}  // namespace caffe

#endif  // CAFFE_HEAT_MAPS_LAYER_HPP_
