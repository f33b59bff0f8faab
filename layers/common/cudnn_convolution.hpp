#ifndef CAFFE_UTIL_CUDNN_CONVOLUTION_HPP_
#define CAFFE_UTIL_CUDNN_CONVOLUTION_HPP_
#ifdef USE_CUDNN

#include "caffe/util/cudnn.hpp"

namespace caffe {

/// The sizes of a convolution of images (num, channels, height, width) to maps (num, num_output, height_out, width_out).
struct ConvolutionShape {
  int num, channels, height, width;
  int num_output, height_out, width_out;
  int kernel_h, kernel_w, pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w;
  int group;
};

/// An algorithm of cuDNN for one direction of a convolution.
struct ConvolutionAlgorithm {
  int number;
  size_t workspace;      // bytes
  cudnnMathType_t math;  // whether it rounds to TF32
};

/**
 * @brief The convolution, or deconvolution, of a layer by cuDNN 9.
 *
 * The algorithm of each direction is looked for at its first run with a shape: cuDNN times what fits into
 * WorkspaceLimit() (or, with DeterministicWanted(), ranks what repeats bit by bit), and the choice is kept for all layers
 * of the process with that shape on that device. Groups are one call. Everything runs on the default stream.
 *
 * A deconvolution is the convolution from its top to its bottom, run backward.
 */
template <typename Dtype>
class CudnnConvolution {
 public:
  /// @param transposed whether the layer is a deconvolution.
  explicit CudnnConvolution(bool transposed);
  ~CudnnConvolution();

  /// @param shape images are the bottom of a convolution, but the top of a deconvolution.
  void Reshape(const ConvolutionShape& shape);

  /// top = bottom * weight + bias; bias may be NULL.
  void Forward(const Dtype* bottom, const Dtype* weight, const Dtype* bias, Dtype* top);
  /// bottom_diff = the gradient by the bottom.
  void BackwardBottom(const Dtype* top_diff, const Dtype* weight, Dtype* bottom_diff);
  /// weight_diff += the gradient by the weights.
  void BackwardWeight(const Dtype* bottom, const Dtype* top_diff, Dtype* weight_diff);
  /// bias_diff += the gradient by the bias.
  void BackwardBias(const Dtype* top_diff, Dtype* bias_diff);

 private:
  CudnnConvolution(const CudnnConvolution&);
  CudnnConvolution& operator=(const CudnnConvolution&);

  void ToMap(const Dtype* image, const Dtype* weight, Dtype* map);
  void ToImage(const Dtype* map, const Dtype* weight, Dtype* image);
  template <typename Direction>
  const ConvolutionAlgorithm& Choose(const void* first, const void* second, void* result);

  const bool transposed_;
  bool shaped_;
  ConvolutionShape shape_;
  cudnnTensorDescriptor_t image_, map_, bias_;
  cudnnFilterDescriptor_t weight_;
  cudnnConvolutionDescriptor_t convolution_;
  ConvolutionAlgorithm algorithms_[3];  // by direction
  bool chosen_[3];
};

}  // namespace caffe

#endif  // USE_CUDNN
#endif  // CAFFE_UTIL_CUDNN_CONVOLUTION_HPP_
