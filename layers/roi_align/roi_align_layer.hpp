#ifndef CAFFE_ROI_ALIGN_LAYER_HPP_
#define CAFFE_ROI_ALIGN_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"
#include "caffe/util/roi_sample.hpp"

namespace caffe {

/**
 * @brief Average of bilinear samples in each bin of a box: pooling to a fixed size that passes a gradient to the box.
 *
 * @param bottom input Blob vector (length 2)
 *   -# @f$ (N \times C \times H \times W) @f$ feature maps
 *   -# @f$ (M \times 5) @f$ boxes [map index, x1, y1, x2, y2] in input pixels
 * @param top output Blob vector (length 1)
 *   -# @f$ (M \times C \times pooled\_h \times pooled\_w) @f$
 *
 * Pixel centres lie at whole coordinates plus one half: an input coordinate x is x scale - 1/2 on the map, where map
 * pixel w has coordinate w. A box may have no area: its samples then coincide; one with swapped ends is sampled
 * mirrored. A sample more than one pixel off the map is 0; nearer ones are moved to its border, and then pass no gradient
 * to the box.
 *
 * Differs from the paper: it pools the parts by ROIPooling, which passes no gradient to the boxes.
 */
template <typename Dtype>
class ROIAlignLayer : public Layer<Dtype> {
 public:
  /**
   * @param param provides ROIAlignParameter roi_align_param, with options:
   *   - pooled_h, pooled_w, required.
   *   - spatial_scale (default 1). Map pixels per input pixel.
   *   - sampling_ratio s (default 2). s x s samples a bin.
   */
  explicit ROIAlignLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "ROIAlign"; }
  virtual inline int ExactNumBottomBlobs() const { return 2; }
  virtual inline int ExactNumTopBlobs() const { return 1; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /**
   * @brief A bin's gradient, divided by @f$ s^2 @f$, goes to the four neighbours of each sample by their bilinear
   *   weights, and through the sample's coordinates @f$ x = x_1 + (x_2 - x_1) (p + (k + 1/2) / s) / pooled @f$ to the
   *   box. The map index gets none (zero).
   */
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  /// The pooled * s coordinates of a box along one axis of `size` pixels.
  vector<RoiSample<Dtype> > Samples(Dtype begin, Dtype end, int pooled, int size) const;

  int pooled_h_, pooled_w_, ratio_;
  Dtype scale_;
  Blob<int> sorted_;     // the boxes of each map, for the kernels (rois.cuh)
  Blob<Dtype> weights_;  // of the map's rows and columns in the bins of each box, for the kernels
};

}  // namespace caffe

#endif  // CAFFE_ROI_ALIGN_LAYER_HPP_
