#include <cmath>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/pairwise_distance_layer.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_layer_util.hpp"

namespace caffe {

template <typename TypeParam>
class PairwiseDistanceLayerTest : public LayerTest<TypeParam> {
 protected:
  PairwiseDistanceLayerTest() {
    this->Draw(0, {3, 5}, -1.5, 1.5);
    this->Tops(1);
  }

  static LayerParameter Param(FeatureNorm feature_norm = UNNORMALIZED, bool squared = false) {
    LayerParameter param;
    param.mutable_pairwise_distance_param()->set_feature_norm(feature_norm);
    param.mutable_pairwise_distance_param()->set_squared(squared);
    return param;
  }
};

TYPED_TEST_CASE(PairwiseDistanceLayerTest, TestDtypesAndDevices);

TYPED_TEST(PairwiseDistanceLayerTest, TestForward) {
  typedef typename TypeParam::Dtype Dtype;
  for (int options = 0; options < 4; ++options) {
    const bool unit = options % 2, squared = options / 2;
    PairwiseDistanceLayer<Dtype> layer(this->Param(unit ? L2_UNIT : UNNORMALIZED, squared));
    this->Run(&layer);
    vector<double> g = this->Data(0), expected;
    for (int i = 0; unit && i < 3; ++i) {
      double square = 0;
      for (int c = 0; c < 5; ++c) {
        square += g[i * 5 + c] * g[i * 5 + c];
      }
      for (int c = 0; c < 5; ++c) {
        g[i * 5 + c] /= std::sqrt(square);
      }
    }
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        double square = 0;
        for (int c = 0; c < 5; ++c) {
          square += std::pow(g[i * 5 + c] - g[j * 5 + c], 2);
        }
        expected.push_back(squared ? square : std::sqrt(square));
      }
    }
    EXPECT_EQ((vector<int>{3, 3}), this->top_[0]->shape());
    this->ExpectNear(expected, this->Top());
  }
}

TYPED_TEST(PairwiseDistanceLayerTest, TestHandWorked) {
  typedef typename TypeParam::Dtype Dtype;
  // The origin, a 3-4-5 triangle's corner, and twice that corner: 5, 10 and 5 apart. At unit length the last
  // two are both (0.6, 0.8), 1 from the origin, which stays there.
  this->Set(0, {3, 2}, {0, 0, 3, 4, 6, 8});
  PairwiseDistanceLayer<Dtype> layer(this->Param());
  this->Run(&layer);
  this->ExpectNear({0, 5, 10, 5, 0, 5, 10, 5, 0}, this->Top());
  // Of 2 d(0, 1) + 3 d(1, 0): 5 times the unit vector (0.6, 0.8) from 0 to 1, with the sign of the end.
  this->Backward(&layer, {true}, {0, 2, 0, 3, 0, 0, 0, 0, 0});
  this->ExpectNear({-3, -4, 3, 4, 0, 0}, this->Diff(0));

  PairwiseDistanceLayer<Dtype> unit(this->Param(L2_UNIT));
  this->Run(&unit);
  this->ExpectNear({0, 1, 1, 1, 0, 0, 1, 0, 0}, this->Top(), 1e-6);

  // Squared, of 2 d(0, 1) + 3 d(1, 0): 5 times twice the difference (3, 4).
  PairwiseDistanceLayer<Dtype> squared(this->Param(UNNORMALIZED, true));
  this->Run(&squared);
  this->ExpectNear({0, 25, 100, 25, 0, 25, 100, 25, 0}, this->Top(), 0);
  this->Backward(&squared, {true}, {0, 2, 0, 3, 0, 0, 0, 0, 0});
  this->ExpectNear({-30, -40, 30, 40, 0, 0}, this->Diff(0));
}

// Half of the gradients are above 0.7, or 0.2 at unit length (4 and 0.5 of the squares): threshold 0.001.
TYPED_TEST(PairwiseDistanceLayerTest, TestGradient) {
  typedef typename TypeParam::Dtype Dtype;
  PairwiseDistanceLayer<Dtype> layer(this->Param());
  this->CheckGradient(&layer, 0);
}

TYPED_TEST(PairwiseDistanceLayerTest, TestGradientUnit) {
  typedef typename TypeParam::Dtype Dtype;
  PairwiseDistanceLayer<Dtype> layer(this->Param(L2_UNIT));
  this->CheckGradient(&layer, 0);
}

// Half of the gradients are above 1, or 2.2 at unit length (0.4 and 5 of the squares).
TYPED_TEST(PairwiseDistanceLayerTest, TestGradientSquared) {
  typedef typename TypeParam::Dtype Dtype;
  this->Draw(0, {3, 4}, -0.5, 0.5);
  for (FeatureNorm feature_norm : {UNNORMALIZED, L2_UNIT}) {
    PairwiseDistanceLayer<Dtype> layer(this->Param(feature_norm, true));
    this->CheckGradient(&layer, 0);
  }
}

TYPED_TEST(PairwiseDistanceLayerTest, TestAccumulation) {
  typedef typename TypeParam::Dtype Dtype;
  for (FeatureNorm feature_norm : {UNNORMALIZED, L2_UNIT}) {
    for (bool squared : {false, true}) {
      PairwiseDistanceLayer<Dtype> layer(this->Param(feature_norm, squared));
      this->ExpectAccumulation(&layer, {true});
    }
  }
}

TYPED_TEST(PairwiseDistanceLayerTest, TestReshape) {
  typedef typename TypeParam::Dtype Dtype;
  for (FeatureNorm feature_norm : {UNNORMALIZED, L2_UNIT}) {
    PairwiseDistanceLayer<Dtype> layer(this->Param(feature_norm)), fresh(this->Param(feature_norm));
    this->ExpectReshape(&layer, &fresh, {true}, [this] { this->Draw(0, {3, 4}, -1, 1); },
        [this] { this->Draw(0, {5, 2, 3}, -1, 1); });
  }
}

TYPED_TEST(PairwiseDistanceLayerTest, TestRefusals) {
  typedef typename TypeParam::Dtype Dtype;
  this->Draw(0, {7}, -1, 1);
  PairwiseDistanceLayer<Dtype> layer(this->Param());
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "must be V x C, not 7 (7)");
}

TYPED_TEST(PairwiseDistanceLayerTest, TestDegenerate) {
  typedef typename TypeParam::Dtype Dtype;
  for (int options = 0; options < 4; ++options) {
    PairwiseDistanceLayer<Dtype> layer(this->Param(options % 2 ? L2_UNIT : UNNORMALIZED, options / 2));
    // Equal features have distance 0, and the derivative there is 0.
    this->Set(0, {2, 2}, {0.3, 0.7, 0.3, 0.7});
    this->Run(&layer);
    this->ExpectNear({0, 0, 0, 0}, this->Top(), 0);
    this->Backward(&layer, {true}, {1, 1, 1, 1});
    this->ExpectNear({0, 0, 0, 0}, this->Diff(0), 0);
    // One video.
    this->Set(0, {1, 2}, {0.3, 0.7});
    this->Run(&layer);
    this->ExpectNear({0}, this->Top(), 0);
    this->Backward(&layer, {true}, {1});
    this->ExpectNear({0, 0}, this->Diff(0), 0);
  }
  // A feature of zeros stays zeros at unit length and gets no gradient; the other's lies along itself and is
  // lost.
  PairwiseDistanceLayer<Dtype> layer(this->Param(L2_UNIT));
  this->Set(0, {2, 2}, {0, 0, 3, 4});
  this->Run(&layer);
  this->ExpectNear({0, 1, 1, 0}, this->Top());
  this->Backward(&layer, {true}, {0, 1, 0, 0});
  this->ExpectNear({0, 0, 0, 0}, this->Diff(0));
}

TYPED_TEST(PairwiseDistanceLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  for (int options = 0; options < 4; ++options) {
    const LayerParameter param = this->Param(options % 2 ? L2_UNIT : UNNORMALIZED, options / 2);
    PairwiseDistanceLayer<Dtype> layer(param), on_cpu(param);
    for (const vector<int>& shape : vector<vector<int> >{{1, 1}, {2, 300}, {7, 33}, {24, 5}, {3, 2, 129}}) {
      this->Draw(0, shape, -1.5, 1.5);
      this->ExpectMatchesCpu(&layer, &on_cpu, {true});
      this->ExpectMatchesCpu(&layer, &on_cpu, {false});
    }
    // Equal rows, rows of zeros.
    this->Set(0, {5, 2}, {0, 0, 0.3, 0.7, 0.3, 0.7, 0, 0, -2, 1});
    this->ExpectMatchesCpu(&layer, &on_cpu, {true});
  }
}

}  // namespace caffe
