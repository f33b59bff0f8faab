#ifndef CAFFE_PART_BOXES_LAYER_HPP_
#define CAFFE_PART_BOXES_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"
#include "caffe/util/part_extent.hpp"

namespace caffe {

/**
 * @brief A box around the joints of each body part (Eq. 7).
 *
 * @param bottom input Blob vector (length 1)
 *   -# @f$ (F \times J \times 3) @f$ joints: x, y in input pixels, confidence (not read); any real numbers
 * @param top output Blob vector (length R, one a part)
 *   -# @f$ (F \times 5) @f$ boxes [frame, x1, y1, x2, y2] in input pixels
 *
 * The default parts are the paper's (section III-B): head [1, 2, 3, 6], torso [2, 3, 6, 9, 12], right arm [3, 4, 5],
 * left arm [6, 7, 8], right leg [12, 13, 14], left leg [9, 10, 11].
 *
 * Differs from the paper: nothing by default.
 */
template <typename Dtype>
class PartBoxesLayer : public Layer<Dtype> {
 public:
  /**
   * @param param provides PartBoxesParameter part_boxes_param, with options, applied in this order:
   *   - part. The joints of each part, counted from 1.
   *   - grow (default 0, SpindleNet 0.2). Part of the side's length added at each end.
   *   - min_side (default 0). Pixels; a shorter side is widened about its centre.
   *   - clip_width, clip_height (default 0: none). Pixels of the image that the box is clipped to.
   */
  explicit PartBoxesLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "PartBoxes"; }
  virtual inline int ExactNumBottomBlobs() const { return 1; }
  virtual inline int MinTopBlobs() const { return 1; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /**
   * @brief The gradient of an edge goes to the joint that attains the minimum or maximum (the first one on ties); a
   *   clipped edge has none. The frame index and the confidences get none.
   */
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  /// Refuses joints with a coordinate that is no number.
  void RequireNumbers(const Blob<Dtype>& joints) const;

  vector<vector<int> > parts_;  // joints from 0
  Blob<int> part_lists_;        // the same for the kernels: where each part begins in what follows and the last ends; joints
  PartBoxRule<Dtype> rule_;
};

}  // namespace caffe

#endif  // CAFFE_PART_BOXES_LAYER_HPP_
