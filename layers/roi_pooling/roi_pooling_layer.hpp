#ifndef CAFFE_ROI_POOLING_LAYER_HPP_
#define CAFFE_ROI_POOLING_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief Max pooling of a box of a feature map to a fixed size, with the semantics and names of Fast R-CNN.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times H \times W) @f$ feature maps
 *   -# @f$ (M \times 5) @f$ boxes [map index, x1, y1, x2, y2] in input pixels; both ends belong to the box
 * @param top output Blob vector (length 1)
 *   -# @f$ (M \times C \times pooled\_h \times pooled\_w) @f$
 *
 * Corners are rounded to map pixels (halves away from zero), a side is at least one map pixel long, and the bins are
 * clipped to the map. A bin outside the map is 0 and passes no gradient. Of equal maxima the first counts.
 *
 * Differs from the paper: nothing.
 */
template <typename Dtype>
class ROIPoolingLayer : public Layer<Dtype> {
 public:
  /**
   * @param param provides ROIPoolingParameter roi_pooling_param, with options:
   *   - pooled_h, pooled_w, required.
   *   - spatial_scale (default 1). Map pixels per input pixel: 1/16 after inception 4b.
   */
  explicit ROIPoolingLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "ROIPooling"; }
  virtual inline int ExactNumBottomBlobs() const { return 2; }
  virtual inline int ExactNumTopBlobs() const { return 1; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /// @brief Each bin's gradient goes to the map pixel that was its maximum. The boxes get none (zeros).
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  int pooled_h_, pooled_w_;
  Blob<int> max_index_;  // as the top: h * W + w of the maximum, -1 for an empty bin
  Blob<int> sorted_;     // the boxes of each map, for the kernels (rois.cuh)
};

}  // namespace caffe

#endif  // CAFFE_ROI_POOLING_LAYER_HPP_
