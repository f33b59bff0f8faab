#include <cmath>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/attention_distance_layer.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_layer_util.hpp"

namespace caffe {

template <typename TypeParam>
class AttentionDistanceLayerTest : public LayerTest<TypeParam> {
 protected:
  typedef AttentionDistanceParameter_Norm Norm;
  static const int V = 3, R = 2, C = 4;

  AttentionDistanceLayerTest() {
    this->Draw(0, {V, R, C}, -1.5, 1.5);
    this->Draw(1, {V, R}, 0.2, 0.8);
    this->Tops(1);
  }

  static LayerParameter Param(Norm norm, bool spatial = true, AttentionGradient gradient = EXACT,
      FeatureNorm feature_norm = UNNORMALIZED) {
    LayerParameter param;
    param.mutable_attention_distance_param()->set_norm(norm);
    param.mutable_attention_distance_param()->set_spatial(spatial);
    param.mutable_attention_distance_param()->set_gradient(gradient);
    param.mutable_attention_distance_param()->set_feature_norm(feature_norm);
    return param;
  }

  double Length(int v, Norm norm) const {
    double sum = 0;
    for (int r = 0; r < R; ++r) {
      const double a = this->bottom_[1]->cpu_data()[v * R + r];
      sum += norm == AttentionDistanceParameter_Norm_L1 ? std::fabs(a) : a * a;
    }
    return norm == AttentionDistanceParameter_Norm_L1 ? sum : std::sqrt(sum);
  }
  double Weight(int v, int r, Norm norm) const {
    return this->bottom_[1]->cpu_data()[v * R + r] / Length(v, norm);
  }
  double PartDistance(int i, int j, int r, bool unit) const {
    vector<double> f[2];
    for (int end = 0; end < 2; ++end) {
      double square = 0;
      for (int c = 0; c < C; ++c) {
        f[end].push_back(this->bottom_[0]->cpu_data()[((end ? j : i) * R + r) * C + c]);
        square += f[end][c] * f[end][c];
      }
      for (double& value : f[end]) {
        value /= unit ? std::sqrt(square) : 1;
      }
    }
    double square = 0;
    for (int c = 0; c < C; ++c) {
      square += std::pow(f[0][c] - f[1][c], 2);
    }
    return std::sqrt(square);
  }

  const Norm L1 = AttentionDistanceParameter_Norm_L1, L2 = AttentionDistanceParameter_Norm_L2;
};

TYPED_TEST_CASE(AttentionDistanceLayerTest, TestDtypesAndDevices);

TYPED_TEST(AttentionDistanceLayerTest, TestForward) {
  typedef typename TypeParam::Dtype Dtype;
  for (auto norm : {this->L1, this->L2}) {
    for (bool unit : {false, true}) {
      AttentionDistanceLayer<Dtype> layer(this->Param(norm, true, EXACT, unit ? L2_UNIT : UNNORMALIZED));
      this->Run(&layer);
      vector<double> expected;
      for (int i = 0; i < this->V; ++i) {
        for (int j = 0; j < this->V; ++j) {
          double sum = 0;
          for (int r = 0; r < this->R; ++r) {
            sum += this->Weight(i, r, norm) * this->Weight(j, r, norm) * this->PartDistance(i, j, r, unit);
          }
          expected.push_back(sum);
        }
      }
      EXPECT_EQ((vector<int>{3, 3}), this->top_[0]->shape());
      this->ExpectNear(expected, this->Top());
    }
  }
}

TYPED_TEST(AttentionDistanceLayerTest, TestHandWorked) {
  typedef typename TypeParam::Dtype Dtype;
  // Parts 5 and 2 apart, scores (1, 3) and (2, 2).
  // L1: w = (1/4, 3/4) and (1/2, 1/2), so 5/8 + 2 * 3/8 = 1.375. L2: (1, 3) / sqrt 10 and (1, 1) / sqrt 2, so
  // (5 + 3 * 2) / sqrt 20. Without the scores: (5 + 2) / 4 for L1, the mean (5 + 2) / 2 for L2.
  this->Set(0, {2, 2, 2}, {0, 0, 1, 1, 3, 4, 1, 3});
  this->Set(1, {2, 2}, {1, 3, 2, 2});
  const double l1[] = {1.75, 1.375}, l2[] = {3.5, 11 / std::sqrt(20.)};
  for (bool spatial : {false, true}) {
    AttentionDistanceLayer<Dtype> first(this->Param(this->L1, spatial));
    AttentionDistanceLayer<Dtype> second(this->Param(this->L2, spatial));
    this->Run(&first);
    this->ExpectNear({0, l1[spatial], l1[spatial], 0}, this->Top());
    this->Run(&second);
    this->ExpectNear({0, l2[spatial], l2[spatial], 0}, this->Top());
  }
  // d / da of video 0, L1: omega = w of video 1 times the part distances = (2.5, 1), their mean by w = 1.375,
  // the norm 4: ((2.5 - 1.375) / 4, (1 - 1.375) / 4). Video 1: omega = (1.25, 1.5), mean 1.375, norm 4.
  AttentionDistanceLayer<Dtype> layer(this->Param(this->L1));
  this->Run(&layer);
  this->Backward(&layer, {true, true}, {0, 1, 0, 0});
  this->ExpectNear({0.28125, -0.09375, -0.03125, 0.03125}, this->Diff(1));
  // d / df: w w of the part (1/8 and 3/8) times the unit vectors (0.6, 0.8) and (0, 1).
  this->ExpectNear({-0.075, -0.1, 0, -0.375, 0.075, 0.1, 0, 0.375}, this->Diff(0));
}

// Half of the gradients are above 0.15 (features) and 1.2 (scores): threshold 0.001. At unit length it is
// 0.05 and 0.2: threshold 0.0002.
TYPED_TEST(AttentionDistanceLayerTest, TestGradientL1) {
  typedef typename TypeParam::Dtype Dtype;
  AttentionDistanceLayer<Dtype> layer(this->Param(this->L1));
  this->CheckGradient(&layer, 0);
  this->CheckGradient(&layer, 1);
  // Scores are not negative, but the derivative of |a| is there for both signs.
  this->bottom_[1]->mutable_cpu_data()[0] *= -1;
  this->CheckGradient(&layer, 1);
}

TYPED_TEST(AttentionDistanceLayerTest, TestGradientL2) {
  typedef typename TypeParam::Dtype Dtype;
  AttentionDistanceLayer<Dtype> layer(this->Param(this->L2));
  this->CheckGradient(&layer, 0);
  this->CheckGradient(&layer, 1);
}

TYPED_TEST(AttentionDistanceLayerTest, TestGradientUnit) {
  typedef typename TypeParam::Dtype Dtype;
  AttentionDistanceLayer<Dtype> layer(this->Param(this->L1, true, EXACT, L2_UNIT));
  this->CheckGradient(&layer, 0, 2e-4);
  this->CheckGradient(&layer, 1, 2e-4);
}

TYPED_TEST(AttentionDistanceLayerTest, TestGradientNotSpatial) {
  typedef typename TypeParam::Dtype Dtype;
  for (auto norm : {this->L1, this->L2}) {
    AttentionDistanceLayer<Dtype> layer(this->Param(norm, false));
    this->CheckGradient(&layer, 0);
    this->CheckGradient(&layer, 1);  // zeros
  }
}

TYPED_TEST(AttentionDistanceLayerTest, TestGradientPaper) {
  typedef typename TypeParam::Dtype Dtype;
  for (auto norm : {this->L1, this->L2}) {
    AttentionDistanceLayer<Dtype> exact(this->Param(norm)), paper(this->Param(norm, true, PAPER));
    this->Run(&exact);
    this->DrawTopDiffs();
    this->Backward(&exact, {true, true});
    const vector<double> features = this->Diff(0);
    this->Run(&paper);
    this->DrawTopDiffs();
    this->Backward(&paper, {true, true});
    this->ExpectNear(features, this->Diff(0));  // Eq. 10, first line, is the derivative
    const vector<double> g = this->Diff(*this->top_[0]);
    vector<double> expected;
    for (int i = 0; i < this->V; ++i) {
      double omega = 0;  // Eq. 10, second line, summed over the pairs that video i is in
      for (int j = 0; j < this->V; ++j) {
        for (int r = 0; r < this->R; ++r) {
          omega += (g[i * this->V + j] + g[j * this->V + i]) * this->Weight(j, r, norm) *
              this->PartDistance(i, j, r, false);
        }
      }
      for (int r = 0; r < this->R; ++r) {  // Eq. 12
        expected.push_back(omega * (1 - this->Weight(i, r, norm)) / this->Length(i, norm));
      }
    }
    this->ExpectNear(expected, this->Diff(1));
  }
}

TYPED_TEST(AttentionDistanceLayerTest, TestAccumulation) {
  typedef typename TypeParam::Dtype Dtype;
  for (FeatureNorm feature_norm : {UNNORMALIZED, L2_UNIT}) {
    for (AttentionGradient gradient : {EXACT, PAPER}) {
      AttentionDistanceLayer<Dtype> layer(this->Param(this->L1, true, gradient, feature_norm));
      this->ExpectAccumulation(&layer, {true, true});
    }
  }
}

TYPED_TEST(AttentionDistanceLayerTest, TestReshape) {
  typedef typename TypeParam::Dtype Dtype;
  const LayerParameter param = this->Param(this->L2, true, EXACT, L2_UNIT);
  AttentionDistanceLayer<Dtype> layer(param), fresh(param);
  this->ExpectReshape(&layer, &fresh, {true, true},
      [this] { this->Draw(0, {3, 2, 4}, -1, 1), this->Draw(1, {3, 2}, 0.2, 1); },
      [this] { this->Draw(0, {4, 3, 2}, -1, 1), this->Draw(1, {4, 3}, 0.2, 1); });
}

TYPED_TEST(AttentionDistanceLayerTest, TestRefusals) {
  typedef typename TypeParam::Dtype Dtype;
  AttentionDistanceLayer<Dtype> layer(this->Param(this->L1));
  this->Draw(1, {3, 5}, 0, 1);
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "must be 3 x 2 like the parts, not 3 5 (15)");
  this->Draw(1, {6}, 0, 1);
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "must be 3 x 2 like the parts, not 6 (6)");
  this->Draw(0, {3, 8}, 0, 1);
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "must be V x R x C, not 3 8 (24)");
}

TYPED_TEST(AttentionDistanceLayerTest, TestDegenerate) {
  typedef typename TypeParam::Dtype Dtype;
  for (auto norm : {this->L1, this->L2}) {
    for (AttentionGradient gradient : {EXACT, PAPER}) {
      // Parts 5 and 2 apart; a video whose scores are all 0 counts as one with equal scores: 1/2 each, or 1 /
      // sqrt 2.
      AttentionDistanceLayer<Dtype> layer(this->Param(norm, true, gradient));
      this->Set(0, {2, 2, 2}, {0, 0, 1, 1, 3, 4, 1, 3});
      this->Set(1, {2, 2}, {0, 0, 1, 0});
      this->Run(&layer);
      const double psi = norm == this->L1 ? 2.5 : 5 / std::sqrt(2.);
      this->ExpectNear({0, psi, psi, 0}, this->Top());
      this->Backward(&layer, {true, true}, {0, 1, 0, 0});
      const vector<double> diff = this->Diff(1);
      this->ExpectNear({0, 0}, {diff[0], diff[1]}, 0);
      EXPECT_GT(std::fabs(diff[3]), 0.1);
      // Equal features: distance 0, derivative 0. The zeros of part 2 have no direction at unit length
      // either.
      for (FeatureNorm feature_norm : {UNNORMALIZED, L2_UNIT}) {
        AttentionDistanceLayer<Dtype> equal(this->Param(norm, true, gradient, feature_norm));
        this->Set(0, {2, 2, 2}, {1, 2, 0, 0, 1, 2, 0, 0});
        this->Set(1, {2, 2}, {1, 3, 2, 2});
        this->Run(&equal);
        this->ExpectNear({0, 0, 0, 0}, this->Top(), 0);
        this->Backward(&equal, {true, true}, {1, 1, 1, 1});
        this->ExpectNear(vector<double>(8, 0), this->Diff(0), 0);
        this->ExpectNear(vector<double>(4, 0), this->Diff(1), 0);
      }
      // One video.
      this->Set(0, {1, 2, 2}, {1, 2, 3, 4});
      this->Set(1, {1, 2}, {1, 3});
      this->Run(&layer);
      this->ExpectNear({0}, this->Top(), 0);
    }
  }
}

TYPED_TEST(AttentionDistanceLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  for (int options = 0; options < 16; ++options) {
    const LayerParameter param = this->Param(options % 2 ? this->L1 : this->L2, options / 2 % 2,
        options / 4 % 2 ? EXACT : PAPER, options / 8 ? L2_UNIT : UNNORMALIZED);
    AttentionDistanceLayer<Dtype> layer(param), on_cpu(param);
    this->Draw(0, {3, 2, 129}, -1.5, 1.5);
    this->Draw(1, {3, 2}, 0.1, 0.9);
    this->ExpectMatchesCpu(&layer, &on_cpu, {true, true});
    // Equal features, features of zeros; a video without scores, one with a score below 0.
    this->Set(0, {3, 2, 2}, {0, 0, 0.3, 0.7, 0.5, 1, 0.3, 0.7, 0, 0, -2, 1});
    this->Set(1, {3, 2}, {0, 0, 0.4, 0, -0.2, 0.5});
    this->ExpectMatchesCpu(&layer, &on_cpu, {true, true});
  }
  const LayerParameter param = this->Param(this->L1);
  AttentionDistanceLayer<Dtype> layer(param), on_cpu(param);
  for (const vector<int>& shape : vector<vector<int> >{{1, 1, 1}, {3, 6, 300}, {7, 5, 33}, {2, 300, 2}}) {
    this->Draw(0, shape, -1.5, 1.5);
    this->Draw(1, {shape[0], shape[1]}, 0.1, 0.9);
    this->ExpectMatchesCpu(&layer, &on_cpu, {true, false});
    this->ExpectMatchesCpu(&layer, &on_cpu, {false, true});
  }
}

}  // namespace caffe
