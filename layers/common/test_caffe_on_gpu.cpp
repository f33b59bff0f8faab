// The layers of BVLC Caffe whose GPU code this project replaces: BatchNorm and Scale (own kernels), Convolution and
// Deconvolution (cuDNN 9). Each must give what it gives on the CPU.

#include <algorithm>
#include <string>
#include <vector>

#include "google/protobuf/text_format.h"

#include "caffe/layer_factory.hpp"
#include "caffe/test/test_layer_util.hpp"
#include "caffe/util/gpu_switches.hpp"

namespace caffe {

template <typename TypeParam>
class CaffeOnGpuTest : public LayerTest<TypeParam> {
 protected:
  typedef typename TypeParam::Dtype Dtype;

  /// Two layers of this prototxt, on the test's device and on the CPU, agree for a bottom of this shape.
  void ExpectMatches(const string& text, const vector<int>& shape,
      const vector<bool>& propagate_down = vector<bool>(1, true)) {
    SCOPED_TRACE(text);
    LayerParameter param;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &param));
    this->Draw(0, shape, -1, 2);
    this->Tops(1);
    shared_ptr<Layer<Dtype> > layer = LayerRegistry<Dtype>::CreateLayer(param);
    shared_ptr<Layer<Dtype> > on_cpu = LayerRegistry<Dtype>::CreateLayer(param);
    const bool cudnn = param.type() == "Convolution" || param.type() == "Deconvolution";  // may add in any order
    this->ExpectMatchesCpu(layer.get(), on_cpu.get(), propagate_down, 4096, !cudnn || DeterministicWanted());
    // BatchNorm changes its own: the layer began with those of the other, and ran twice since.
    Caffe::set_mode(Caffe::CPU);
    on_cpu->Forward(this->bottom_, this->top_);
    on_cpu->Forward(this->bottom_, this->top_);
    Caffe::set_mode(TypeParam::device);
    for (int b = 0; b < layer->blobs().size(); ++b) {
      this->ExpectNear(this->Data(*on_cpu->blobs()[b]), this->Data(*layer->blobs()[b]), 1e-4);
    }
  }

  /// A layer gives the same in place as between two blobs.
  void ExpectInPlace(const string& text, const vector<int>& shape) {
    SCOPED_TRACE(text);
    LayerParameter param;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &param));
    shared_ptr<Layer<Dtype> > between = LayerRegistry<Dtype>::CreateLayer(param);
    shared_ptr<Layer<Dtype> > in_place = LayerRegistry<Dtype>::CreateLayer(param);
    this->Draw(0, shape, -1, 2);
    this->Tops(1);
    this->Run(between.get());
    this->DrawTopDiffs();
    this->Backward(between.get(), vector<bool>(1, true));
    const vector<double> top = this->Top(), diff = this->Diff(0), top_diff = this->Diff(*this->top_[0]);
    vector<vector<double> > parameters;
    for (int b = 0; b < between->blobs().size(); ++b) {
      parameters.push_back(this->Diff(*between->blobs()[b]));
    }
    this->Draw(0, shape, -1, 2);
    const vector<Blob<Dtype>*> same(1, this->bottom_[0]);
    in_place->SetUp(same, same);
    in_place->Forward(same, same);
    this->ExpectNear(top, this->Data(0), 1e-6);
    std::copy(top_diff.begin(), top_diff.end(), same[0]->mutable_cpu_diff());
    in_place->Backward(same, vector<bool>(1, true), same);
    this->ExpectNear(diff, this->Diff(0), 1e-5);
    for (int b = 0; b < parameters.size(); ++b) {
      this->ExpectNear(parameters[b], this->Diff(*in_place->blobs()[b]), 1e-5);
    }
  }
};

TYPED_TEST_CASE(CaffeOnGpuTest, TestDtypesAndDevices);

// One block a channel; several a channel, with sizes that no block divides; a vector; one value a channel.
static vector<vector<int> > NormalizedShapes() {
  return {{3, 5, 7, 9}, {7, 2, 61, 63}, {6, 3}, {1, 2, 1, 1}, {300, 1, 16, 16}};
}

TYPED_TEST(CaffeOnGpuTest, BatchNorm) {
  for (const vector<int>& shape : NormalizedShapes()) {
    if (shape[0] * (shape.size() > 2 ? shape[2] : 1) > 1) {  // one value has no variance
      this->ExpectMatches("type: 'BatchNorm' batch_norm_param { moving_average_fraction: 0.7 eps: 1e-3 }", shape);
      this->ExpectInPlace("type: 'BatchNorm'", shape);
    }
    this->ExpectMatches("type: 'BatchNorm' batch_norm_param { use_global_stats: true eps: 1e-3 }", shape);
  }
}

TYPED_TEST(CaffeOnGpuTest, BatchNormWithStoredStatistics) {
  typedef typename TypeParam::Dtype Dtype;
  LayerParameter param;
  param.mutable_batch_norm_param()->set_use_global_stats(true);
  shared_ptr<Layer<Dtype> > layer;
  param.set_type("BatchNorm");
  layer = LayerRegistry<Dtype>::CreateLayer(param);
  this->Draw(0, {2, 2, 3, 1}, -1, 2);
  this->Tops(1);
  layer->SetUp(this->bottom_, this->top_);
  const Dtype mean[] = {1, -4}, variance[] = {8, 2};
  std::copy(mean, mean + 2, layer->blobs()[0]->mutable_cpu_data());
  std::copy(variance, variance + 2, layer->blobs()[1]->mutable_cpu_data());
  layer->blobs()[2]->mutable_cpu_data()[0] = 2;  // means 0.5 and -2, variances 4 and 1
  layer->Forward(this->bottom_, this->top_);
  const vector<double> x = this->Data(0), y = this->Top();
  for (int i = 0; i < 12; ++i) {
    EXPECT_NEAR(i / 3 % 2 == 0 ? (x[i] - 0.5) / 2 : x[i] + 2, y[i], 1e-4);
  }
}

TYPED_TEST(CaffeOnGpuTest, Scale) {
  const string scale = "type: 'Scale' scale_param { filler { type: 'uniform' min: -1 max: 2 } ";
  for (const vector<int>& shape : NormalizedShapes()) {
    this->ExpectMatches(scale + "}", shape);
    this->ExpectMatches(scale + "bias_term: true bias_filler { type: 'uniform' } }", shape);
    this->ExpectMatches(scale + "bias_term: true }", shape, vector<bool>(1, false));
    this->ExpectInPlace("type: 'Scale' scale_param { bias_term: true filler { value: 1.5 } }", shape);
  }
  this->ExpectMatches(scale + "axis: 0 num_axes: -1 bias_term: true }", {4, 3, 2, 5});
  this->ExpectMatches(scale + "axis: 0 num_axes: 0 bias_term: true }", {40, 3, 20, 11});
}

TYPED_TEST(CaffeOnGpuTest, Convolution) {
  for (const string type : {"Convolution", "Deconvolution"}) {
    const string layer = "type: '" + type + "' convolution_param { weight_filler { type: 'gaussian' std: 0.5 } "
        "bias_filler { type: 'uniform' } ";
    this->ExpectMatches(layer + "num_output: 6 kernel_size: 3 pad: 1 }", {3, 4, 7, 9});
    this->ExpectMatches(layer + "num_output: 4 kernel_size: 1 bias_term: false }", {2, 3, 5, 5});
    this->ExpectMatches(layer + "num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 0 pad_w: 1 }",
        {2, 6, 9, 8});
    this->ExpectMatches(layer + "num_output: 6 kernel_size: 3 group: 3 stride: 2 }", {2, 9, 9, 7});
    this->ExpectMatches(layer + "num_output: 5 kernel_size: 3 group: 5 pad: 1 }", {2, 5, 6, 6});
    this->ExpectMatches(layer + "num_output: 4 kernel_size: 3 dilation: 2 pad: 2 group: 2 }", {2, 4, 8, 9});
    this->ExpectMatches(layer + "num_output: 2 kernel_size: 4 stride: 2 pad: 1 }", {1, 3, 6, 6}, vector<bool>(1, false));
  }
}

// The batch's size changes between training and testing, and back.
TYPED_TEST(CaffeOnGpuTest, ConvolutionOfAnotherBatch) {
  typedef typename TypeParam::Dtype Dtype;
  for (const string type : {"Convolution", "Deconvolution"}) {
    LayerParameter param;
    param.set_type(type);
    param.mutable_convolution_param()->set_num_output(4);
    param.mutable_convolution_param()->add_kernel_size(3);
    param.mutable_convolution_param()->mutable_weight_filler()->set_type("constant");
    param.mutable_convolution_param()->mutable_weight_filler()->set_value(0.5);
    shared_ptr<Layer<Dtype> > layer = LayerRegistry<Dtype>::CreateLayer(param);
    shared_ptr<Layer<Dtype> > fresh = LayerRegistry<Dtype>::CreateLayer(param);
    this->Tops(1);
    this->ExpectReshape(layer.get(), fresh.get(), vector<bool>(1, true),
        [this] { this->Draw(0, {2, 3, 6, 5}, -1, 1); }, [this] { this->Draw(0, {5, 3, 6, 7}, -1, 1); });
  }
}

TYPED_TEST(CaffeOnGpuTest, GradientOfConvolution) {
  typedef typename TypeParam::Dtype Dtype;
  for (const string type : {"Convolution", "Deconvolution"}) {
    LayerParameter param;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString("type: '" + type + "' convolution_param { num_output: 4 "
        "kernel_size: 3 group: 2 dilation: 2 pad: 1 weight_filler { type: 'gaussian' std: 0.2 } bias_filler { type: "
        "'gaussian' std: 0.2 } }", &param));
    this->Draw(0, {2, 4, 5, 4}, -1, 1);
    this->Tops(1);
    shared_ptr<Layer<Dtype> > layer = LayerRegistry<Dtype>::CreateLayer(param);
    this->CheckGradient(layer.get(), -1, 1e-3, 1e-2);
    this->CheckGradient(layer.get(), 0, 1e-3, 1e-2);
  }
}

}  // namespace caffe
