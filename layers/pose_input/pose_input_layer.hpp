#ifndef CAFFE_POSE_INPUT_LAYER_HPP_
#define CAFFE_POSE_INPUT_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief What a pose net sees of a frame: the frame at its published aspect in a padded square, and the centre map.
 *
 * @param bottom input Blob vector (length 1)
 *   -# @f$ (F \times 3 \times H \times W) @f$ frames squashed to H x W, values v = (pixel - mean) scale
 * @param top output Blob vector (length 1)
 *   -# @f$ (F \times 4 \times h \times w) @f$ pixel / 256 - 1/2 in the order of the bottom's channels, about
 *      -0.5 .. 0.5, and the centre map @f$ e^{-((x - w/2)^2 + (y - h/2)^2) / (2 \sigma^2)} @f$, in 0 .. 1
 *
 * The frame fills the largest box of the published aspect that fits into the top, in its middle. Pixel centres lie at
 * whole coordinates plus one half: a pixel of the top belongs to the frame where its centre lies in the box (the left and
 * the upper edge belong to it), and is then read from the bottom bilinearly, without antialiasing; points off the bottom's
 * pixel centres are moved to them. The other pixels have the value `fill`.
 *
 * Differs from the paper: it does not say what its pose net sees. Range, padding and centre map are SpindleNet's, the pose
 * net that it cites; the published aspect in place of the image file's own is ours: the frames arrive squashed.
 */
template <typename Dtype>
class PoseInputLayer : public Layer<Dtype> {
 public:
  /**
   * @param param provides PoseInputParameter pose_input_param, with options:
   *   - new_height, new_width (default 256). h, w.
   *   - aspect (default 0.5). Width / height of the published frames, above 0.
   *   - mean_value, scale (default none, 1). What the bottom was made with: B, G, R, or one for all; scale is not 0.
   *   - fill (default 128). Grey beside the frame, in pixel values.
   *   - sigma (default 21). Of the centre map, in pixels of the top, above 0.
   */
  explicit PoseInputLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "PoseInput"; }
  virtual inline int ExactNumBottomBlobs() const { return 1; }
  virtual inline int ExactNumTopBlobs() const { return 1; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /**
   * @brief The bilinear reading backwards: with the weights @f$ \omega @f$ of the top's pixels in the box and their
   *   gradients g, @f$ \partial L / \partial v_i = \sum_o \omega_{oi} g_o / (256\, scale) @f$. The centre map passes none.
   */
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  /// What the rows or the columns of the top read of those of the bottom.
  struct Axis {
    int size;                // of the bottom, for which the rest was made; 0: for none yet
    Blob<int> neighbours;    // (pixels of the top, 2); -1 beside the box
    Blob<Dtype> weights;     // of the neighbours
    Blob<int> readers;       // (size, 2): the first pixel of the top that reads this one, and one past the last
  };
  /// Makes an axis of `pixels` in the top and `size` in the bottom, on which the box is `side` long.
  static void SetAxis(int pixels, double side, int size, Axis* axis);

  Dtype factor_;          // top = factor v + offset
  Dtype offset_[3];
  Dtype fill_;            // as a value of the top
  Blob<Dtype> centre_;    // (h, w)
  Axis rows_, columns_;
};

}  // namespace caffe

#endif  // CAFFE_POSE_INPUT_LAYER_HPP_
