#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/roi_align_layer.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_layer_util.hpp"

namespace caffe {

/// ROIAlign of boxes without their map index, box m on map m % N: the gradient checker moves every value of a
/// bottom, and a moved index is refused.
template <typename Dtype>
class ROIAlignCornersLayer : public Layer<Dtype> {
 public:
  explicit ROIAlignCornersLayer(const LayerParameter& param) : Layer<Dtype>(param), align_(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
    align_.SetUp(Inner(bottom), top);
  }
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
    align_.Reshape(Inner(bottom), top);
  }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
    align_.Forward(Inner(bottom), top);
  }
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom) {
    align_.Backward(top, propagate_down, Inner(bottom));
    for (int m = 0; m < bottom[1]->shape(0); ++m) {
      EXPECT_EQ(0, boxes_.cpu_diff()[m * 5]);
      caffe_copy(4, boxes_.cpu_diff() + m * 5 + 1, bottom[1]->mutable_cpu_diff() + m * 4);
    }
  }
  vector<Blob<Dtype>*> Inner(const vector<Blob<Dtype>*>& bottom) {
    boxes_.Reshape(vector<int>{bottom[1]->shape(0), 5});
    for (int m = 0; m < bottom[1]->shape(0); ++m) {
      boxes_.mutable_cpu_data()[m * 5] = m % bottom[0]->num();
      caffe_copy(4, bottom[1]->cpu_data() + m * 4, boxes_.mutable_cpu_data() + m * 5 + 1);
    }
    return {bottom[0], &boxes_};
  }

  ROIAlignLayer<Dtype> align_;
  Blob<Dtype> boxes_;
};

template <typename TypeParam>
class ROIAlignLayerTest : public LayerTest<TypeParam> {
 protected:
  /// Four boxes on two maps of 5 x 6 pixels, at a scale of 1/2: one inside, one without area, one that leaves
  /// the map at the left and below by samples that are moved and by ones that are lost, one wholly beside it.
  ROIAlignLayerTest() {
    this->Draw(0, {2, 2, 5, 6}, -1, 1);
    this->Set(1, {4, 5}, {1, 1.7, 0.7, 8.1, 7.7,
                          0, 2.3, 2.6, 2.3, 2.6,
                          1, -2.5, 5.3, 5.1, 12.5,
                          0, 40, 1, 50, 8});
    this->Tops(1);
  }

  static LayerParameter Param(int pooled_h, int pooled_w, double scale, int ratio) {
    LayerParameter param;
    param.mutable_roi_align_param()->set_pooled_h(pooled_h);
    param.mutable_roi_align_param()->set_pooled_w(pooled_w);
    param.mutable_roi_align_param()->set_spatial_scale(scale);
    param.mutable_roi_align_param()->set_sampling_ratio(ratio);
    return param;
  }

  /// The map at a point: each pixel by the product of two tents of width 1 about it.
  double Sample(int map, int c, double y, double x) const {
    const Blob<typename TypeParam::Dtype>& maps = *this->bottom_[0];
    const int H = maps.height(), W = maps.width();
    if (y < -1 || y > H || x < -1 || x > W) {
      return 0;
    }
    y = std::min(std::max(y, 0.), H - 1.);
    x = std::min(std::max(x, 0.), W - 1.);
    double value = 0;
    for (int h = 0; h < H; ++h) {
      for (int w = 0; w < W; ++w) {
        value += std::max(0., 1 - std::fabs(y - h)) * std::max(0., 1 - std::fabs(x - w)) *
            maps.data_at(map, c, h, w);
      }
    }
    return value;
  }
};

TYPED_TEST_CASE(ROIAlignLayerTest, TestDtypesAndDevices);

TYPED_TEST(ROIAlignLayerTest, TestForward) {
  typedef typename TypeParam::Dtype Dtype;
  const int ratio = 3, ph = 2, pw = 3;
  ROIAlignLayer<Dtype> layer(this->Param(ph, pw, 0.5, ratio));
  this->Run(&layer);
  vector<double> expected;
  for (int m = 0; m < 4; ++m) {
    const Dtype* roi = this->bottom_[1]->cpu_data() + m * 5;
    const double bin_w = (roi[3] - roi[1]) * 0.5 / pw, bin_h = (roi[4] - roi[2]) * 0.5 / ph;
    for (int c = 0; c < 2; ++c) {
      for (int bin = 0; bin < ph * pw; ++bin) {
        double sum = 0;
        for (int i = 0; i < ratio; ++i) {
          for (int j = 0; j < ratio; ++j) {
            const double y = roi[2] * 0.5 + (bin / pw + (i + 0.5) / ratio) * bin_h - 0.5;
            const double x = roi[1] * 0.5 + (bin % pw + (j + 0.5) / ratio) * bin_w - 0.5;
            sum += this->Sample(roi[0], c, y, x);
          }
        }
        expected.push_back(sum / (ratio * ratio));
      }
    }
  }
  EXPECT_EQ((vector<int>{4, 2, 2, 3}), this->top_[0]->shape());
  this->ExpectNear(expected, this->Top());
}

TYPED_TEST(ROIAlignLayerTest, TestHandWorked) {
  typedef typename TypeParam::Dtype Dtype;
  // The map 10 h + w. Pixel w reaches from w to w + 1, so the box 1 .. 3 covers pixels 1 and 2: bins of 2 x 2
  // give them back, and one sample lies between them at 1.5.
  vector<double> map;
  for (int i = 0; i < 16; ++i) {
    map.push_back(10 * (i / 4) + i % 4);
  }
  this->Set(0, {1, 1, 4, 4}, map);
  this->Set(1, {1, 5}, {0, 1, 1, 3, 3});
  ROIAlignLayer<Dtype> four(this->Param(2, 2, 1, 2)), one(this->Param(1, 1, 1, 1));
  this->Run(&four);
  this->ExpectNear({11, 12, 21, 22}, this->Top());
  this->Run(&one);
  this->ExpectNear({16.5}, this->Top());
  // The sample moves by half of each edge; the map rises by 1 along x and 10 along y.
  this->Backward(&one, {true, true}, {4});
  this->ExpectNear({0, 2, 20, 2, 20}, this->Diff(1));
  this->ExpectNear({0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0}, this->Diff(0));
  // At a scale of 1/2 the same box ends at 0.5 and 1.5, and its sample lies at 0.5: half the gradient.
  ROIAlignLayer<Dtype> half(this->Param(1, 1, 0.5, 1));
  this->Run(&half);
  this->ExpectNear({5.5}, this->Top());
  this->Backward(&half, {true, true}, {4});
  this->ExpectNear({0, 1, 10, 1, 10}, this->Diff(1));
}

// Half of the gradients are above 0.2, or 0.03 of the squares: threshold 0.0002.
TYPED_TEST(ROIAlignLayerTest, TestGradientMaps) {
  typedef typename TypeParam::Dtype Dtype;
  for (int ratio : {1, 2}) {
    ROIAlignLayer<Dtype> layer(this->Param(2, 2, 0.5, ratio));
    this->CheckGradient(&layer, 0, 2e-4);
  }
}

// Half of the gradients are above 0.14, or 0.06 of the squares: threshold 0.0005. No sample is nearer than
// 0.03 to a pixel's centre, where the slope changes, or to where it is lost; the step is 0.002 on the map.
TYPED_TEST(ROIAlignLayerTest, TestGradientBoxes) {
  typedef typename TypeParam::Dtype Dtype;
  this->Set(1, {4, 4}, {2.3, 2.6, 2.3, 2.6, 1.7, 0.7, 8.1, 7.7, 40, 1, 50, 8, -2.5, 5.3, 5.1, 12.5});
  for (int ratio : {1, 2}) {
    ROIAlignCornersLayer<Dtype> layer(this->Param(2, 2, 0.5, ratio));
    this->CheckGradient(&layer, 1, 5e-4);
  }
}

TYPED_TEST(ROIAlignLayerTest, TestAccumulation) {
  typedef typename TypeParam::Dtype Dtype;
  ROIAlignLayer<Dtype> layer(this->Param(2, 2, 0.5, 2));
  this->ExpectAccumulation(&layer, {true, true});
}

TYPED_TEST(ROIAlignLayerTest, TestPropagateDown) {
  typedef typename TypeParam::Dtype Dtype;
  // Each bottom alone gets what it gets together with the other.
  ROIAlignLayer<Dtype> layer(this->Param(2, 2, 0.5, 2));
  this->Run(&layer);
  this->DrawTopDiffs();
  this->Backward(&layer, {true, true});
  const vector<double> maps = this->Diff(0), boxes = this->Diff(1);
  this->Backward(&layer, {true, false});
  EXPECT_EQ(maps, this->Diff(0));
  EXPECT_EQ(vector<double>(20, 7), this->Diff(1));
  this->Backward(&layer, {false, true});
  EXPECT_EQ(vector<double>(120, 7), this->Diff(0));
  EXPECT_EQ(boxes, this->Diff(1));
}

TYPED_TEST(ROIAlignLayerTest, TestReshape) {
  typedef typename TypeParam::Dtype Dtype;
  const LayerParameter param = this->Param(2, 3, 1, 2);
  ROIAlignLayer<Dtype> layer(param), fresh(param);
  this->ExpectReshape(&layer, &fresh, {true, true},
      [this] { this->Draw(0, {1, 2, 5, 6}, -1, 1), this->Set(1, {1, 5}, {0, 0.2, 0.3, 4, 5}); },
      [this] { this->Draw(0, {2, 3, 4, 2}, -1, 1),
               this->Set(1, {2, 5}, {1, 0.2, 0.3, 4, 5, 0, 1, 1, 2, 2}); });
}

TYPED_TEST(ROIAlignLayerTest, TestRefusals) {
  typedef typename TypeParam::Dtype Dtype;
  ROIAlignLayer<Dtype> none((LayerParameter())), flat(this->Param(2, 0, 1, 2)),
      scale(this->Param(2, 2, 0, 2)), ratio(this->Param(2, 2, 1, 0)), layer(this->Param(2, 2, 1, 2));
  EXPECT_REFUSED(none.SetUp(this->bottom_, this->top_), "needs pooled_h and pooled_w");
  EXPECT_REFUSED(flat.SetUp(this->bottom_, this->top_), "needs pooled_h and pooled_w");
  EXPECT_REFUSED(scale.SetUp(this->bottom_, this->top_), "spatial_scale must be above 0");
  EXPECT_REFUSED(ratio.SetUp(this->bottom_, this->top_), "sampling_ratio must be at least 1");
  for (double map : {-1., 2., 0.5}) {
    this->Set(1, {1, 5}, {map, 0, 0, 1, 1});
    layer.SetUp(this->bottom_, this->top_);
    EXPECT_REFUSED(layer.Forward(this->bottom_, this->top_), "but there are maps 0 .. 1");
  }
  for (double value : {std::numeric_limits<double>::quiet_NaN(), 1e9}) {
    this->Set(1, {2, 5}, {0, 0, 0, 1, 1, 0, 0, 0, value, 1});
    layer.SetUp(this->bottom_, this->top_);
    EXPECT_REFUSED(layer.Forward(this->bottom_, this->top_), "value 3 of box 1 is ");
  }
  this->Draw(1, {3, 4}, 0, 1);
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_),
      "must be M x 5 [map index, x1, y1, x2, y2], not 3 4 (12)");
  this->Draw(0, {2, 5, 6}, 0, 1);
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "must be N x C x H x W, not 2 5 6 (60)");
}

TYPED_TEST(ROIAlignLayerTest, TestDegenerate) {
  typedef typename TypeParam::Dtype Dtype;
  // A box without area on the map w + 1: all samples at x = 1 - 0.5, the value 1.5, and each edge gets half.
  // One that is off the map by more than a pixel: 0, no gradient. One 0.7 off: the border's value, no
  // gradient along x.
  this->Set(0, {1, 1, 1, 4}, {1, 2, 3, 4});
  this->Set(1, {3, 5}, {0, 1, 0.5, 1, 0.5, 0, -9, 0.5, -1, 0.5, 0, -0.2, 0.5, -0.2, 0.5});
  ROIAlignLayer<Dtype> layer(this->Param(1, 2, 1, 2));
  this->Run(&layer);
  this->ExpectNear({1.5, 1.5, 0, 0, 1, 1}, this->Top());
  this->Backward(&layer, {true, true}, {1, 1, 1, 1, 1, 1});
  this->ExpectNear({3, 1, 0, 0}, this->Diff(0));
  this->ExpectNear({0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, this->Diff(1));
  // A map of one pixel.
  this->Set(0, {1, 1, 1, 1}, {5});
  this->Set(1, {1, 5}, {0, 0, 0, 1, 1});
  this->Run(&layer);
  this->ExpectNear({5, 5}, this->Top());
  this->Backward(&layer, {true, true}, {1, 1});
  this->ExpectNear({2}, this->Diff(0));
  this->ExpectNear({0, 0, 0, 0, 0}, this->Diff(1), 0);
}

TYPED_TEST(ROIAlignLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  // Boxes in no order of their maps, partly off them, some mirrored. The last has more boxes than a block threads, and
  // maps without any.
  const struct {
    vector<int> maps;
    int boxes, pooled_h, pooled_w;
    double scale;
    int ratio;
  } cases[] = {{{1, 1, 1, 1}, 1, 1, 1, 1, 1}, {{3, 5, 7, 9}, 13, 8, 8, 0.5, 2}, {{2, 3, 28, 14}, 5, 2, 7, 0.25, 3},
      {{601, 1, 2, 3}, 520, 2, 1, 1, 1}};
  for (const auto& one : cases) {
    this->Draw(0, one.maps, -1, 1);
    this->Draw(1, {one.boxes, 5}, -0.3, 1.2);
    const vector<double> map = this->Drawn(one.boxes, 0, one.maps[0], 9);
    for (int i = 0; i < one.boxes * 5; ++i) {
      Dtype& value = this->bottom_[1]->mutable_cpu_data()[i];
      value = i % 5 == 0 ? std::floor(map[i / 5]) : value * one.maps[i % 5 % 2 == 1 ? 3 : 2] / one.scale;
    }
    const LayerParameter param = this->Param(one.pooled_h, one.pooled_w, one.scale, one.ratio);
    ROIAlignLayer<Dtype> layer(param), on_cpu(param);
    this->ExpectMatchesCpu(&layer, &on_cpu, {true, true});
    this->ExpectMatchesCpu(&layer, &on_cpu, {true, false});
    this->ExpectMatchesCpu(&layer, &on_cpu, {false, true});
  }
}

TYPED_TEST(ROIAlignLayerTest, TestWrongBoxesOnTheDevice) {
  typedef typename TypeParam::Dtype Dtype;
  // Boxes that lie there are not read back: a wrong one gives NaN, also for its own gradient, and none to the maps.
  const double nan = std::numeric_limits<double>::quiet_NaN();
  this->Set(0, {1, 1, 1, 2}, {3, 4});
  this->Set(1, {5, 5}, {1, 0, 0, 1, 0, 0, 1, 0, 2, 1, -1, 0, 0, 1, 0, 0, nan, 0, 1, 0, 0, 0, 0, 1, -1e30});
  ROIAlignLayer<Dtype> layer(this->Param(1, 1, 1, 1));
  layer.SetUp(this->bottom_, this->top_);
  EXPECT_REFUSED(layer.Forward(this->bottom_, this->top_), "box 0 is on map 1, but");
  if (TypeParam::device == Caffe::GPU) {
    this->bottom_[1]->mutable_gpu_data();
    layer.Forward(this->bottom_, this->top_);
    this->Backward(&layer, {true, true}, {1, 2, 4, 8, 16});
    for (int m = 0; m < 5; ++m) {
      EXPECT_EQ(m != 1, std::isnan(this->Top()[m])) << "box " << m;
      EXPECT_EQ(m != 1, std::isnan(this->Diff(1)[m * 5 + 1])) << "box " << m;
    }
    EXPECT_EQ(4, this->Top()[1]);
    EXPECT_EQ((vector<double>{0, 2}), this->Diff(0));
  }
}

TYPED_TEST(ROIAlignLayerTest, TestNoBoxes) {
  typedef typename TypeParam::Dtype Dtype;
  ROIAlignLayer<Dtype> layer(this->Param(2, 3, 0.5, 2));
  this->Run(&layer);
  this->Set(1, {0, 5}, {});
  layer.Forward(this->bottom_, this->top_);
  EXPECT_EQ((vector<int>{0, 2, 2, 3}), this->top_[0]->shape());
  this->Backward(&layer, {true, true}, {});
  EXPECT_EQ(vector<double>(120, 0), this->Diff(0));
}

}  // namespace caffe
