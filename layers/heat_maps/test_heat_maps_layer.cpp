#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/heat_maps_layer.hpp"
#include "caffe/layers/spatial_soft_arg_max_layer.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_layer_util.hpp"

namespace caffe {

template <typename TypeParam>
class HeatMapsLayerTest : public LayerTest<TypeParam> {
 protected:
  /// Two frames of three joints, on an image of 24 x 16 pixels or up to 4 beside it; one is not annotated.
  HeatMapsLayerTest() {
    this->Draw(0, {2, 3, 3}, -4, 20);
    for (int i = 0; i < 6; ++i) {
      this->bottom_[0]->mutable_cpu_data()[i * 3 + 2] = i == 4 ? 0 : 0.3 * i - 0.1;
    }
    this->Tops(1);
  }

  static LayerParameter Param(int height, int width, double stride = 1, double sigma = 1,
      const vector<int>& channels = {}) {
    LayerParameter param;
    HeatMapsParameter* maps = param.mutable_heat_maps_param();
    maps->set_height(height);
    maps->set_width(width);
    maps->set_stride(stride);
    maps->set_sigma(sigma);
    for (int channel : channels) {
      maps->add_channel(channel);
    }
    return param;
  }
};

TYPED_TEST_CASE(HeatMapsLayerTest, TestDtypesAndDevices);

TYPED_TEST(HeatMapsLayerTest, TestForward) {
  typedef typename TypeParam::Dtype Dtype;
  // Joints 0 of the first frame and 1 of the second have no map.
  for (const vector<int>& channels : {vector<int>{}, vector<int>{0, 1, 2}, vector<int>{2, 0, 1}}) {
    HeatMapsLayer<Dtype> layer(this->Param(4, 6, 4, 3.5, channels));
    this->Run(&layer);
    EXPECT_EQ((vector<int>{2, 4, 4, 6}), this->top_[0]->shape());
    for (int f = 0; f < 2; ++f) {
      for (int r = 0; r < 4; ++r) {
        for (int c = 0; c < 6; ++c) {
          double left = 1;
          for (int j = 0; j < 3; ++j) {
            const Dtype* joint = this->bottom_[0]->cpu_data() + (f * 3 + j) * 3;
            const double distance = std::hypot(4 * c + 1.5 - joint[0], 4 * r + 1.5 - joint[1]) / 3.5;
            const double value = j == f ? 0 : std::exp(-0.5 * distance * distance);
            const int channel = channels.empty() ? j : channels[j];
            EXPECT_NEAR(value, this->top_[0]->data_at(f, channel, r, c), 1e-5)
                << f << " " << j << " " << r << " " << c;
            left = std::min(left, 1 - value);
          }
          EXPECT_NEAR(left, this->top_[0]->data_at(f, 3, r, c), 1e-5) << f << " " << r << " " << c;
        }
      }
    }
  }
}

TYPED_TEST(HeatMapsLayerTest, TestHandWorked) {
  typedef typename TypeParam::Dtype Dtype;
  // Cells of 2 pixels lie at 0.5 and 2.5; sigma^2 = 2, so a cell at a distance of 2 has e^-1. Joint 0, on the
  // first cell, has map 1; joint 1 lies between the upper cells, 1 from each, and has map 0.
  const double e1 = std::exp(-1.), e2 = std::exp(-2.), q = std::exp(-0.25), s = std::exp(-1.25);
  this->Set(0, {1, 2, 3}, {0.5, 0.5, 1, 1.5, 0.5, 0.01});
  HeatMapsLayer<Dtype> layer(this->Param(2, 2, 2, std::sqrt(2.), {1, 0}));
  this->Run(&layer);
  this->ExpectNear({q, q, s, s, 1, e1, e1, e2, 0, 1 - q, 1 - e1, 1 - s}, this->Top(), 1e-6);
}

TYPED_TEST(HeatMapsLayerTest, TestDefaults) {
  typedef typename TypeParam::Dtype Dtype;
  // Stride 1 and sigma 1: cells are pixels, and the neighbour of a joint's has e^-1/2.
  LayerParameter param;
  param.mutable_heat_maps_param()->set_height(1);
  param.mutable_heat_maps_param()->set_width(3);
  this->Set(0, {1, 1, 3}, {1, 0, 1});
  HeatMapsLayer<Dtype> layer(param);
  this->Run(&layer);
  const double beside = std::exp(-0.5);
  this->ExpectNear({beside, 1, beside, 1 - beside, 0, 1 - beside}, this->Top(), 1e-6);
}

TYPED_TEST(HeatMapsLayerTest, TestBackFromMaps) {
  typedef typename TypeParam::Dtype Dtype;
  // Joints on cells come back from their maps through SpatialSoftArgMax with the same stride and channels.
  const vector<double> joints = {3.5, 11.5, 1, 19.5, 3.5, 1, 43.5, 27.5, 1};
  this->Set(0, {1, 3, 3}, joints);
  HeatMapsLayer<Dtype> layer(this->Param(4, 6, 8, 7, {2, 0, 1}));
  this->Run(&layer);
  LayerParameter param;
  param.mutable_spatial_soft_arg_max_param()->set_stride(8);
  for (int channel : {2, 0, 1}) {
    param.mutable_spatial_soft_arg_max_param()->add_channel(channel);
  }
  SpatialSoftArgMaxLayer<Dtype> back(param);
  Blob<Dtype> read;
  const vector<Blob<Dtype>*> tops = {&read};
  back.SetUp(this->top_, tops);
  back.Forward(this->top_, tops);
  this->ExpectNear(joints, this->Data(read), 1e-6);
}

TYPED_TEST(HeatMapsLayerTest, TestBackward) {
  typedef typename TypeParam::Dtype Dtype;
  HeatMapsLayer<Dtype> layer(this->Param(4, 6));
  this->Run(&layer);
  this->DrawTopDiffs();
  this->Backward(&layer, {true});
  this->ExpectNear(vector<double>(18, 0), this->Diff(0), 0);
  this->Backward(&layer, {false});
  this->ExpectNear(vector<double>(18, 7), this->Diff(0), 0);
}

TYPED_TEST(HeatMapsLayerTest, TestReshape) {
  typedef typename TypeParam::Dtype Dtype;
  HeatMapsLayer<Dtype> layer(this->Param(4, 6, 4, 3)), fresh(this->Param(4, 6, 4, 3));
  this->ExpectReshape(&layer, &fresh, {true}, [this] { this->Draw(0, {2, 3, 3}, 0.1, 20); },
      [this] { this->Draw(0, {3, 5, 3}, 0.1, 20); });
}

TYPED_TEST(HeatMapsLayerTest, TestRefusals) {
  typedef typename TypeParam::Dtype Dtype;
  HeatMapsLayer<Dtype> none((LayerParameter())), flat(this->Param(0, 6)), stride(this->Param(4, 6, 0)),
      sigma(this->Param(4, 6, 1, -1)), layer(this->Param(4, 6, 1, 1, {2, 0, 1}));
  EXPECT_REFUSED(none.SetUp(this->bottom_, this->top_), "heat_maps_param needs height and width");
  EXPECT_REFUSED(flat.SetUp(this->bottom_, this->top_), "heat_maps_param needs height and width");
  EXPECT_REFUSED(stride.SetUp(this->bottom_, this->top_), "stride and sigma must be above 0");
  EXPECT_REFUSED(sigma.SetUp(this->bottom_, this->top_), "stride and sigma must be above 0");
  for (const vector<int>& channels : {vector<int>{0, 1}, vector<int>{0, 1, 1}, vector<int>{1, 2, 3},
                                      vector<int>{0, 1, 2, 3}}) {
    HeatMapsLayer<Dtype> wrong(this->Param(4, 6, 1, 1, channels));
    EXPECT_REFUSED(wrong.SetUp(this->bottom_, this->top_), "must list each of 0 .. 2 once");
  }
  // Maps that were the joints' at first and are not after a reshape.
  layer.SetUp(this->bottom_, this->top_);
  this->Draw(0, {2, 4, 3}, 0, 1);
  EXPECT_REFUSED(layer.Reshape(this->bottom_, this->top_), "must list each of 0 .. 3 once");
  for (const vector<int>& shape : {vector<int>{3, 2}, vector<int>{1, 3, 3, 1}}) {
    this->Draw(0, shape, 0, 1);
    EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "the joints must be F x J x 3, not ");
  }
}

TYPED_TEST(HeatMapsLayerTest, TestDegenerate) {
  typedef typename TypeParam::Dtype Dtype;
  // A map of one cell, at pixel 1.5: a joint on it, one far off the image, and three not annotated.
  HeatMapsLayer<Dtype> cell(this->Param(1, 1, 4));
  const struct {
    vector<double> joint;
    double value;
  } cases[] = {{{1.5, 1.5, 1}, 1}, {{-1e30, 1e30, 1}, 0}, {{1.5, 1.5, 0}, 0}, {{1.5, 1.5, -1}, 0},
      {{1e30, 1.5, 0}, 0}};
  for (const auto& one : cases) {
    this->Set(0, {1, 1, 3}, one.joint);
    this->Run(&cell);
    this->ExpectNear({one.value, 1 - one.value}, this->Top(), 0);
  }
  // A joint 2 beside the image gives small values, as everywhere.
  this->Set(0, {1, 1, 3}, {-2, 0, 1});
  HeatMapsLayer<Dtype> pair(this->Param(1, 2));
  this->Run(&pair);
  const double two = std::exp(-2.), three = std::exp(-4.5);
  this->ExpectNear({two, three, 1 - two, 1 - three}, this->Top(), 1e-6);
}

TYPED_TEST(HeatMapsLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (int frames : {1, 3}) {
    this->Draw(0, {frames, 3, 3}, -4, 20);
    for (double confidence : {-1., nan, 1.}) {
      this->bottom_[0]->mutable_cpu_data()[5] = confidence;
      for (const LayerParameter& param : {this->Param(1, 1), this->Param(17, 23, 1.5, 3, {2, 0, 1})}) {
        HeatMapsLayer<Dtype> layer(param), on_cpu(param);
        this->ExpectMatchesCpu(&layer, &on_cpu, {true});
        this->ExpectMatchesCpu(&layer, &on_cpu, {false});
      }
    }
    // A coordinate that is no number: its map is none, and it takes nothing from the background.
    this->bottom_[0]->mutable_cpu_data()[3] = nan;
    HeatMapsLayer<Dtype> layer(this->Param(3, 5)), on_cpu(this->Param(3, 5));
    this->ExpectMatchesCpu(&layer, &on_cpu, {true});
  }
}

}  // namespace caffe
