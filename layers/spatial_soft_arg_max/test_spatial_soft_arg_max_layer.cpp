#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/spatial_soft_arg_max_layer.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_layer_util.hpp"

namespace caffe {

template <typename TypeParam>
class SpatialSoftArgMaxLayerTest : public LayerTest<TypeParam> {
 protected:
  typedef SpatialSoftArgMaxParameter_Mode Mode;

  SpatialSoftArgMaxLayerTest() {
    this->Draw(0, {2, 3, 3, 4}, -1, 1);
    this->Tops(1);
  }

  static LayerParameter Param(Mode mode, const vector<int>& channels, double stride = 1, double beta = 1) {
    LayerParameter param;
    SpatialSoftArgMaxParameter* arg_max = param.mutable_spatial_soft_arg_max_param();
    arg_max->set_mode(mode);
    for (int channel : channels) {
      arg_max->add_channel(channel);
    }
    arg_max->set_stride(stride);
    arg_max->set_beta(beta);
    return param;
  }

  /// The softmax of map (f, channel) of the 3 x 4 maps.
  vector<double> Softmax(int f, int channel, double beta) const {
    vector<double> p;
    double sum = 0;
    for (int i = 0; i < 12; ++i) {
      p.push_back(std::exp(beta * this->Data(0)[(f * 3 + channel) * 12 + i]));
      sum += p.back();
    }
    for (double& value : p) {
      value /= sum;
    }
    return p;
  }

  const Mode ARG_MAX = SpatialSoftArgMaxParameter_Mode_ARG_MAX, SOFT = SpatialSoftArgMaxParameter_Mode_SOFT;
};

TYPED_TEST_CASE(SpatialSoftArgMaxLayerTest, TestDtypesAndDevices);

TYPED_TEST(SpatialSoftArgMaxLayerTest, TestForward) {
  typedef typename TypeParam::Dtype Dtype;
  const vector<int> channels = {2, 0, 2, 1};
  for (auto mode : {this->ARG_MAX, this->SOFT}) {
    SpatialSoftArgMaxLayer<Dtype> layer(this->Param(mode, channels, 8, 3));
    this->Run(&layer);
    vector<double> expected;
    for (int f = 0; f < 2; ++f) {
      for (int channel : channels) {
        const Dtype* map = this->bottom_[0]->cpu_data() + (f * 3 + channel) * 12;
        const vector<double> p = this->Softmax(f, channel, 3);
        int best = 0;
        double x = 0, y = 0;
        for (int i = 0; i < 12; ++i) {
          best = map[i] > map[best] ? i : best;
          x += p[i] * (8 * (i % 4) + 3.5);
          y += p[i] * (8 * (i / 4) + 3.5);
        }
        const bool soft = mode == this->SOFT;
        expected.insert(expected.end(), {soft ? x : 8 * (best % 4) + 3.5, soft ? y : 8 * (best / 4) + 3.5,
            map[best]});
      }
    }
    EXPECT_EQ((vector<int>{2, 4, 3}), this->top_[0]->shape());
    this->ExpectNear(expected, this->Top());
  }
}

TYPED_TEST(SpatialSoftArgMaxLayerTest, TestHandWorked) {
  typedef typename TypeParam::Dtype Dtype;
  // Cells of 2 pixels lie at 0.5 and 2.5. The softmax of (0, ln 3) is (1/4, 3/4), so x = (0.5 + 3 * 2.5) / 4
  // = 2.
  const double ln3 = std::log(3.);
  this->Set(0, {1, 1, 1, 2}, {0, ln3});
  SpatialSoftArgMaxLayer<Dtype> arg_max(this->Param(this->ARG_MAX, {0}, 2));
  SpatialSoftArgMaxLayer<Dtype> soft(this->Param(this->SOFT, {0}, 2));
  this->Run(&arg_max);
  this->ExpectNear({2.5, 0.5, ln3}, this->Top());
  this->Run(&soft);
  this->ExpectNear({2, 0.5, ln3}, this->Top());
  // p (x_c - x): 1/4 * (0.5 - 2) and 3/4 * (2.5 - 2); the confidence passes none.
  this->Backward(&soft, {true}, {1, 5, 9});
  this->ExpectNear({-0.375, 0.375}, this->Diff(0));
  // beta 2: the softmax of (0, ln 9) is (1/10, 9/10). A column of cells gives y instead.
  this->Set(0, {1, 1, 2, 1}, {0, ln3});
  SpatialSoftArgMaxLayer<Dtype> sharp(this->Param(this->SOFT, {0}, 2, 2));
  this->Run(&sharp);
  this->ExpectNear({0.5, 2.3, ln3}, this->Top());
  this->Backward(&sharp, {true}, {5, 1, 9});
  this->ExpectNear({-0.36, 0.36}, this->Diff(0));
}

TYPED_TEST(SpatialSoftArgMaxLayerTest, TestDefaultChannels) {
  typedef typename TypeParam::Dtype Dtype;
  SpatialSoftArgMaxLayer<Dtype> listed(this->Param(this->ARG_MAX, {0, 1}));
  this->Run(&listed);
  const vector<double> expected = this->Top();
  LayerParameter param = this->Param(this->ARG_MAX, {});
  param.mutable_spatial_soft_arg_max_param()->set_joints(2);
  SpatialSoftArgMaxLayer<Dtype> first(param);
  this->Run(&first);
  this->ExpectNear(expected, this->Top(), 0);
}

// Half of the gradients are above 0.5: threshold 0.001. The confidence's values are left out: the maximum has
// a derivative, but passes none.
TYPED_TEST(SpatialSoftArgMaxLayerTest, TestGradientSoft) {
  typedef typename TypeParam::Dtype Dtype;
  SpatialSoftArgMaxLayer<Dtype> layer(this->Param(this->SOFT, {2, 0, 2}, 4, 1.5));
  layer.SetUp(this->bottom_, this->top_);
  GradientChecker<Dtype> checker(4e-3, 1e-3);
  for (int i = 0; i < this->top_[0]->count(); ++i) {
    if (i % 3 != 2) {
      checker.CheckGradientSingle(&layer, this->bottom_, this->top_, 0, 0, i);
    }
  }
}

TYPED_TEST(SpatialSoftArgMaxLayerTest, TestGradientSum) {
  typedef typename TypeParam::Dtype Dtype;
  // Of all tops at once: the joints that read one map add up in it, and map 1, which none reads, gets zeros.
  const vector<int> channels = {2, 0, 2};
  SpatialSoftArgMaxLayer<Dtype> layer(this->Param(this->SOFT, channels, 4, 1.5));
  this->Run(&layer);
  this->DrawTopDiffs();
  this->Backward(&layer, {true});
  const vector<double> joints = this->Top(), g = this->Diff(*this->top_[0]);
  vector<double> expected(72, 0);
  for (int f = 0; f < 2; ++f) {
    for (int j = 0; j < 3; ++j) {
      const vector<double> p = this->Softmax(f, channels[j], 1.5);
      const int top = (f * 3 + j) * 3;
      for (int i = 0; i < 12; ++i) {
        expected[(f * 3 + channels[j]) * 12 + i] += 1.5 * p[i] *
            (g[top] * (4 * (i % 4) + 1.5 - joints[top]) + g[top + 1] * (4 * (i / 4) + 1.5 - joints[top + 1]));
      }
    }
  }
  this->ExpectNear(expected, this->Diff(0));
}

TYPED_TEST(SpatialSoftArgMaxLayerTest, TestGradientArgMax) {
  typedef typename TypeParam::Dtype Dtype;
  SpatialSoftArgMaxLayer<Dtype> layer(this->Param(this->ARG_MAX, {0}));
  this->Run(&layer);
  this->DrawTopDiffs();
  this->Backward(&layer, {true});
  this->ExpectNear(vector<double>(72, 0), this->Diff(0), 0);
}

TYPED_TEST(SpatialSoftArgMaxLayerTest, TestAccumulation) {
  typedef typename TypeParam::Dtype Dtype;
  for (auto mode : {this->ARG_MAX, this->SOFT}) {
    SpatialSoftArgMaxLayer<Dtype> layer(this->Param(mode, {2, 0, 2}));
    this->ExpectAccumulation(&layer, {true});
  }
}

TYPED_TEST(SpatialSoftArgMaxLayerTest, TestReshape) {
  typedef typename TypeParam::Dtype Dtype;
  for (auto mode : {this->ARG_MAX, this->SOFT}) {
    SpatialSoftArgMaxLayer<Dtype> layer(this->Param(mode, {1, 0})), fresh(this->Param(mode, {1, 0}));
    this->ExpectReshape(&layer, &fresh, {true}, [this] { this->Draw(0, {2, 3, 3, 4}, -1, 1); },
        [this] { this->Draw(0, {3, 2, 5, 2}, -1, 1); });
  }
}

TYPED_TEST(SpatialSoftArgMaxLayerTest, TestRefusals) {
  typedef typename TypeParam::Dtype Dtype;
  LayerParameter param = this->Param(this->SOFT, {});
  param.mutable_spatial_soft_arg_max_param()->set_joints(0);
  SpatialSoftArgMaxLayer<Dtype> none(param), fourteen(this->Param(this->SOFT, {})),
      three(this->Param(this->SOFT, {3})), stride(this->Param(this->SOFT, {0}, 0)),
      beta(this->Param(this->SOFT, {0}, 1, -1)), layer(this->Param(this->SOFT, {0}));
  EXPECT_REFUSED(none.SetUp(this->bottom_, this->top_), "give at least one joint");
  EXPECT_REFUSED(fourteen.SetUp(this->bottom_, this->top_), "read from map 3, but the bottom has 3 maps");
  EXPECT_REFUSED(three.SetUp(this->bottom_, this->top_), "read from map 3, but the bottom has 3 maps");
  EXPECT_REFUSED(stride.SetUp(this->bottom_, this->top_), "beta and stride must be above 0");
  EXPECT_REFUSED(beta.SetUp(this->bottom_, this->top_), "beta and stride must be above 0");
  this->Draw(0, {2, 3, 4}, 0, 1);
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "must be F x J x h x w, not 2 3 4 (24)");
}

TYPED_TEST(SpatialSoftArgMaxLayerTest, TestDegenerate) {
  typedef typename TypeParam::Dtype Dtype;
  SpatialSoftArgMaxLayer<Dtype> arg_max(this->Param(this->ARG_MAX, {0})), soft(this->Param(this->SOFT, {0}));
  // A flat map: the first cell, and the middle; the same for zeros as for values whose exponential overflows.
  for (double value : {0., 1e4, -1e4}) {
    this->Set(0, {1, 1, 2, 3}, vector<double>(6, value));
    this->Run(&arg_max);
    this->ExpectNear({0, 0, value}, this->Top());
    this->Run(&soft);
    this->ExpectNear({1, 0.5, value}, this->Top());
    this->Backward(&soft, {true}, {6, 0, 0});
    this->ExpectNear({-1, 0, 1, -1, 0, 1}, this->Diff(0));
  }
  // One cell far above the others is the mean, with no gradient left. One cell alone is both.
  this->Set(0, {1, 1, 1, 2}, {-1e4, 1e4});
  this->Run(&soft);
  this->ExpectNear({1, 0, 1e4}, this->Top());
  this->Backward(&soft, {true}, {1, 1, 1});
  this->ExpectNear({0, 0}, this->Diff(0));
  this->Set(0, {1, 1, 1, 1}, {-3});
  this->Run(&soft);
  this->ExpectNear({0, 0, -3}, this->Top());
  this->Backward(&soft, {true}, {1, 1, 1});
  this->ExpectNear({0}, this->Diff(0));
}

TYPED_TEST(SpatialSoftArgMaxLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  // Maps of one cell, of fewer than a block has threads and of more; on few values, so that the first maximum counts.
  // A NaN in the first cell is the maximum, elsewhere it is none.
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const vector<int>& maps : vector<vector<int> >{{1, 4, 1, 1}, {2, 5, 7, 5}, {3, 4, 19, 37}}) {
    for (int at : {-1, 0, 1}) {
      this->Draw(0, maps, 0, 1);
      Dtype* values = this->bottom_[0]->mutable_cpu_data();
      for (int i = 0; i < this->bottom_[0]->count(); ++i) {
        values[i] = i == at ? nan : std::floor(6 * values[i]) - 4;
      }
      LayerParameter params[] = {this->Param(this->ARG_MAX, {3, 0, 1}, 8), this->Param(this->SOFT, {3, 0, 3, 1}, 4, 1.5)};
      for (const LayerParameter& param : params) {
        SpatialSoftArgMaxLayer<Dtype> layer(param), on_cpu(param);
        this->ExpectMatchesCpu(&layer, &on_cpu, {true});
        this->ExpectMatchesCpu(&layer, &on_cpu, {false});
      }
    }
  }
}

}  // namespace caffe
