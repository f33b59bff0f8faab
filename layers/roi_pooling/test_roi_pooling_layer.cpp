#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/roi_pooling_layer.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_layer_util.hpp"

namespace caffe {

template <typename TypeParam>
class ROIPoolingLayerTest : public LayerTest<TypeParam> {
 protected:
  /// Boxes on two maps of 5 x 6 pixels, at a scale of 1/2: two inside that overlap, one that leaves the map
  /// on two sides, one without area, one wholly beside it, and one whose ends are swapped.
  ROIPoolingLayerTest() {
    SpacedMaps({2, 2, 5, 6});
    this->Set(1, {6, 5}, {1, 1, 0, 9, 7,
                          1, 4, 2, 8, 9,
                          0, -5, 5, 4, 15,
                          0, 6, 4, 6, 4,
                          1, 40, 1, 50, 8,
                          0, 8, 6, 2, 1});
    this->Tops(1);
  }

  /// Maps of values 0.05 apart, in no order.
  void SpacedMaps(const vector<int>& shape) {
    this->Draw(0, shape, 0, 1);
    const vector<double> drawn = this->Data(0);
    for (int i = 0; i < drawn.size(); ++i) {
      const int rank = std::count_if(drawn.begin(), drawn.end(),
          [&](double value) { return value < drawn[i]; });
      this->bottom_[0]->mutable_cpu_data()[i] = 0.05 * rank - 4;
    }
  }

  static LayerParameter Param(int pooled_h, int pooled_w, double scale) {
    LayerParameter param;
    param.mutable_roi_pooling_param()->set_pooled_h(pooled_h);
    param.mutable_roi_pooling_param()->set_pooled_w(pooled_w);
    param.mutable_roi_pooling_param()->set_spatial_scale(scale);
    return param;
  }

  /// Whether pixel `at` belongs to bin p of the `pooled` ones between two edges (map pixels, both included).
  static bool Inside(int at, double begin, double end, int p, int pooled) {
    const double bin = std::max(std::round(end) - std::round(begin) + 1, 1.) / pooled;
    const double place = at - std::round(begin);
    return place >= std::floor(p * bin) && place < std::ceil((p + 1) * bin);
  }
};

TYPED_TEST_CASE(ROIPoolingLayerTest, TestDtypesAndDevices);

TYPED_TEST(ROIPoolingLayerTest, TestForward) {
  typedef typename TypeParam::Dtype Dtype;
  const int ph = 2, pw = 4;
  ROIPoolingLayer<Dtype> layer(this->Param(ph, pw, 0.5));
  this->Run(&layer);
  vector<double> expected;
  for (int m = 0; m < 6; ++m) {
    const Dtype* roi = this->bottom_[1]->cpu_data() + m * 5;
    for (int c = 0; c < 2; ++c) {
      for (int bin = 0; bin < ph * pw; ++bin) {
        double most = -1e9;
        for (int h = 0; h < 5; ++h) {
          for (int w = 0; w < 6; ++w) {
            if (this->Inside(h, roi[2] * 0.5, roi[4] * 0.5, bin / pw, ph) &&
                this->Inside(w, roi[1] * 0.5, roi[3] * 0.5, bin % pw, pw)) {
              most = std::max<double>(most, this->bottom_[0]->data_at(roi[0], c, h, w));
            }
          }
        }
        expected.push_back(most == -1e9 ? 0 : most);
      }
    }
  }
  EXPECT_EQ((vector<int>{6, 2, 2, 4}), this->top_[0]->shape());
  this->ExpectNear(expected, this->Top());
}

TYPED_TEST(ROIPoolingLayerTest, TestHandWorked) {
  typedef typename TypeParam::Dtype Dtype;
  //  1  2  3  4    Box 0 .. 3, both ends included: bins of two pixels. Box 1 .. 2: bins of one pixel.
  //  5  6  7  8    Box 0 .. 2: bins of one and a half, which share the middle pixel.
  //  9 10 11 12    Box 0 .. 3, -3 .. 0: the lower bins are rows -1 and 0, the upper ones off the map.
  // 13 14 15 16
  vector<double> map;
  for (int i = 1; i <= 16; ++i) {
    map.push_back(i);
  }
  this->Set(0, {1, 1, 4, 4}, map);
  this->Set(1, {4, 5}, {0, 0, 0, 3, 3, 0, 1, 1, 2, 2, 0, 0, 0, 2, 2, 0, 0, -3, 3, 0});
  ROIPoolingLayer<Dtype> layer(this->Param(2, 2, 1));
  this->Run(&layer);
  this->ExpectNear({6, 8, 14, 16, 6, 7, 10, 11, 6, 7, 10, 11, 0, 0, 2, 4}, this->Top());
  // A pixel's gradients add up: 6 and 7 and 10 and 11 are maxima of two or three bins.
  this->Backward(&layer, {true, false}, {1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8});
  this->ExpectNear({0, 8, 0, 8, 0, 7, 6, 1, 0, 6, 6, 0, 0, 1, 0, 1}, this->Diff(0));
  // At a scale of 1/2 the corners 1 and 3 lie at 0.5 and 1.5, and halves go up: pixels 1 and 2. -1 and -3 lie
  // at -0.5 and -1.5, and go down: pixels -2 and -1.
  this->Set(1, {2, 5}, {0, 1, 1, 3, 3, 0, -3, 1, -1, 3});
  ROIPoolingLayer<Dtype> half(this->Param(1, 1, 0.5));
  this->Run(&half);
  this->ExpectNear({11, 0}, this->Top());
}

// Each gradient that is not 0 is 2, half of the squares' are above 1.5: threshold 0.004. Values are 0.05
// apart: the step is 0.01.
TYPED_TEST(ROIPoolingLayerTest, TestGradient) {
  typedef typename TypeParam::Dtype Dtype;
  ROIPoolingLayer<Dtype> layer(this->Param(2, 3, 0.5));
  this->CheckGradient(&layer, 0, 4e-3, 1e-2);
}

TYPED_TEST(ROIPoolingLayerTest, TestBoxesGetZeros) {
  typedef typename TypeParam::Dtype Dtype;
  ROIPoolingLayer<Dtype> layer(this->Param(2, 3, 0.5));
  this->Run(&layer);
  this->DrawTopDiffs();
  this->Backward(&layer, {true, true});
  EXPECT_EQ(vector<double>(30, 0), this->Diff(1));
  this->Backward(&layer, {false, false});
  EXPECT_EQ(vector<double>(120, 7), this->Diff(0));
  EXPECT_EQ(vector<double>(30, 7), this->Diff(1));
}

TYPED_TEST(ROIPoolingLayerTest, TestAccumulation) {
  typedef typename TypeParam::Dtype Dtype;
  ROIPoolingLayer<Dtype> layer(this->Param(2, 3, 0.5));
  this->ExpectAccumulation(&layer, {true, true});
}

TYPED_TEST(ROIPoolingLayerTest, TestReshape) {
  typedef typename TypeParam::Dtype Dtype;
  const LayerParameter param = this->Param(2, 3, 1);
  ROIPoolingLayer<Dtype> layer(param), fresh(param);
  this->ExpectReshape(&layer, &fresh, {true, true},
      [this] { this->SpacedMaps({1, 2, 5, 6}), this->Set(1, {1, 5}, {0, 0, 0, 4, 5}); },
      [this] { this->SpacedMaps({2, 3, 4, 2}), this->Set(1, {2, 5}, {1, 0, 0, 4, 5, 0, 1, 1, 2, 2}); });
}

TYPED_TEST(ROIPoolingLayerTest, TestRefusals) {
  typedef typename TypeParam::Dtype Dtype;
  ROIPoolingLayer<Dtype> none((LayerParameter())), flat(this->Param(2, 0, 1)), scale(this->Param(2, 2, -1)),
      layer(this->Param(2, 2, 1));
  EXPECT_REFUSED(none.SetUp(this->bottom_, this->top_), "needs pooled_h and pooled_w");
  EXPECT_REFUSED(flat.SetUp(this->bottom_, this->top_), "needs pooled_h and pooled_w");
  EXPECT_REFUSED(scale.SetUp(this->bottom_, this->top_), "spatial_scale must be above 0");
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

TYPED_TEST(ROIPoolingLayerTest, TestDegenerate) {
  typedef typename TypeParam::Dtype Dtype;
  // On equal values the first pixel counts. A box without area, or with its ends swapped, is the pixel of its
  // first corner in every bin. A box off the map is 0 and passes no gradient, nor is 0 the least maximum.
  this->Set(0, {1, 1, 2, 2}, {-3, -3, -3, -3});
  this->Set(1, {4, 5}, {0, 0, 0, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 5, -9, 6, -8});
  ROIPoolingLayer<Dtype> layer(this->Param(1, 1, 1)), two(this->Param(1, 2, 1));
  this->Run(&layer);
  this->ExpectNear({-3, -3, -3, 0}, this->Top());
  this->Backward(&layer, {true, true}, {1, 2, 4, 8});
  this->ExpectNear({1, 2, 0, 4}, this->Diff(0));
  this->Run(&two);
  this->ExpectNear({-3, -3, -3, -3, -3, -3, 0, 0}, this->Top());
  this->Backward(&two, {true, true}, {1, 1, 2, 2, 4, 4, 8, 8});
  this->ExpectNear({1, 1 + 4, 0, 8}, this->Diff(0));
}

TYPED_TEST(ROIPoolingLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  // Values with ties, boxes in no order of their maps and partly off them; to the bit, as nothing is rounded but sums,
  // which come in one order. The last has more boxes than a block threads, and maps without any.
  const struct {
    vector<int> maps;
    int boxes, pooled_h, pooled_w;
    double scale;
  } cases[] = {{{1, 1, 1, 1}, 1, 1, 1, 1}, {{3, 5, 7, 9}, 13, 8, 8, 0.5}, {{2, 3, 28, 14}, 5, 2, 7, 0.25},
      {{601, 1, 2, 3}, 520, 2, 1, 1}};
  for (const auto& one : cases) {
    this->Draw(0, one.maps, 0, 1);
    for (int i = 0; i < this->bottom_[0]->count(); ++i) {
      this->bottom_[0]->mutable_cpu_data()[i] = std::floor(8 * this->bottom_[0]->cpu_data()[i]) - 4;
    }
    this->Draw(1, {one.boxes, 5}, -0.3, 1.2);
    const vector<double> map = this->Drawn(one.boxes, 0, one.maps[0], 9);
    for (int i = 0; i < one.boxes * 5; ++i) {
      Dtype& value = this->bottom_[1]->mutable_cpu_data()[i];
      value = i % 5 == 0 ? std::floor(map[i / 5]) : value * one.maps[i % 5 % 2 == 1 ? 3 : 2] / one.scale;
    }
    const LayerParameter param = this->Param(one.pooled_h, one.pooled_w, one.scale);
    ROIPoolingLayer<Dtype> layer(param), on_cpu(param);
    this->ExpectMatchesCpu(&layer, &on_cpu, {true, true}, 0);
    this->ExpectMatchesCpu(&layer, &on_cpu, {true, false}, 0);
    this->ExpectMatchesCpu(&layer, &on_cpu, {false, true}, 0);
  }
}

TYPED_TEST(ROIPoolingLayerTest, TestLengthsOfBins) {
  typedef typename TypeParam::Dtype Dtype;
  // Every length of a box with every number of bins: the bins' edges are rounded products, and the kernels guess from a
  // pixel at the bins that hold it.
  const int length = 40;
  this->Draw(0, {1, 1, 1, length + 2}, 0, 1);
  vector<double> boxes;
  for (int end = 0; end < length; ++end) {
    boxes.insert(boxes.end(), {0, 1, 0, 1. + end, 0});
  }
  this->Set(1, {length, 5}, boxes);
  for (int pooled = 1; pooled < 20; ++pooled) {
    ROIPoolingLayer<Dtype> layer(this->Param(1, pooled, 1)), on_cpu(this->Param(1, pooled, 1));
    this->ExpectMatchesCpu(&layer, &on_cpu, {true, false}, 0);
  }
}

TYPED_TEST(ROIPoolingLayerTest, TestWrongBoxesOnTheDevice) {
  typedef typename TypeParam::Dtype Dtype;
  // Boxes that lie there are not read back: a wrong one gives NaN, and no gradient.
  const double nan = std::numeric_limits<double>::quiet_NaN();
  this->Set(0, {1, 1, 1, 2}, {3, 4});
  this->Set(1, {5, 5}, {1, 0, 0, 1, 0, 0, 0, 0, 1, 0, -1, 0, 0, 1, 0, 0, nan, 0, 1, 0, 0, 0, 0, 1, -1e30});
  ROIPoolingLayer<Dtype> layer(this->Param(1, 1, 1));
  layer.SetUp(this->bottom_, this->top_);
  EXPECT_REFUSED(layer.Forward(this->bottom_, this->top_), "box 0 is on map 1, but");
  if (TypeParam::device == Caffe::GPU) {
    this->bottom_[1]->mutable_gpu_data();
    layer.Forward(this->bottom_, this->top_);
    for (int m = 0; m < 5; ++m) {
      EXPECT_EQ(m != 1, std::isnan(this->Top()[m])) << "box " << m;
    }
    EXPECT_EQ(4, this->Top()[1]);
    this->Backward(&layer, {true, true}, {1, 2, 4, 8, 16});
    EXPECT_EQ((vector<double>{0, 2}), this->Diff(0));
  }
}

TYPED_TEST(ROIPoolingLayerTest, TestNoBoxes) {
  typedef typename TypeParam::Dtype Dtype;
  ROIPoolingLayer<Dtype> layer(this->Param(2, 3, 0.5));
  this->Run(&layer);
  this->Set(1, {0, 5}, {});
  layer.Forward(this->bottom_, this->top_);
  EXPECT_EQ((vector<int>{0, 2, 2, 3}), this->top_[0]->shape());
  this->Backward(&layer, {true, true}, {});
  EXPECT_EQ(vector<double>(120, 0), this->Diff(0));
}

}  // namespace caffe
