#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/triplet_loss_layer.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_layer_util.hpp"

namespace caffe {

template <typename TypeParam>
class TripletLossLayerTest : public LayerTest<TypeParam> {
 protected:
  typedef TripletLossParameter_Triplets Kind;

  TripletLossLayerTest() { this->Tops(1); }

  static LayerParameter Param(Kind triplets, double margin, bool sum = false) {
    LayerParameter param;
    param.mutable_triplet_loss_param()->set_triplets(triplets);
    param.mutable_triplet_loss_param()->set_margin(margin);
    if (sum) {
      param.mutable_loss_param()->set_normalization(LossParameter_NormalizationMode_NONE);
    }
    return param;
  }

  /// Four videos of two persons. With the margin 0.4 the triplets' hinges are
  ///   (0, 1, 2): 1.0 - 0.7 + 0.4 = 0.7     (2, 3, 0): 0.5 - 0.7  + 0.4 = 0.2
  ///   (0, 1, 3): 1.0 - 1.6 + 0.4 < 0       (2, 3, 1): 0.5 - 0.3  + 0.4 = 0.6
  ///   (1, 0, 2): 1.0 - 0.3 + 0.4 = 1.1     (3, 2, 0): 0.5 - 1.6  + 0.4 < 0
  ///   (1, 0, 3): 1.0 - 1.25 + 0.4 = 0.15   (3, 2, 1): 0.5 - 1.25 + 0.4 < 0
  void FourVideos() {
    this->Set(0, {4, 4}, {0, 1.0, 0.7, 1.6,
                          1.0, 0, 0.3, 1.25,
                          0.7, 0.3, 0, 0.5,
                          1.6, 1.25, 0.5, 0});
    this->Set(1, {4}, {5, 5, 8, 8});
  }

  const Kind ORDERED = TripletLossParameter_Triplets_ORDERED, ALL = TripletLossParameter_Triplets_ALL,
      HARD = TripletLossParameter_Triplets_HARD;
};

TYPED_TEST_CASE(TripletLossLayerTest, TestDtypesAndDevices);

TYPED_TEST(TripletLossLayerTest, TestForward) {
  typedef typename TypeParam::Dtype Dtype;
  const int V = 6;
  const double margin = 0.3;
  this->Draw(0, {V, V}, 0, 2);
  for (auto kind : {this->ORDERED, this->ALL, this->HARD}) {
    for (bool sum : {false, true}) {
      this->Set(1, {V}, kind == this->ORDERED ? vector<double>{1, 1, 2, 7, 7, 1} :
          vector<double>{4, 2, 4, 2, 4, 9});
      TripletLossLayer<Dtype> layer(this->Param(kind, margin, sum));
      this->Run(&layer);
      const vector<double> d = this->Data(0), label = this->Data(1);
      double loss = 0;
      int number = 0;
      for (int a = 0; a < V; ++a) {
        double farthest = -1, nearest = 1e9;
        for (int p = 0; p < V; ++p) {
          for (int n = 0; n < V; ++n) {
            if (p != a && label[p] == label[a] && label[n] != label[a]) {
              farthest = std::max(farthest, d[a * V + p]);
              nearest = std::min(nearest, d[a * V + n]);
              if (kind == this->ALL || (kind == this->ORDERED && a % 3 == 0 && p == a + 1 && n == a + 2)) {
                loss += std::max(0., d[a * V + p] - d[a * V + n] + margin);
                ++number;
              }
            }
          }
        }
        if (kind == this->HARD && farthest >= 0) {  // the person seen once is an anchor of nothing
          loss += std::max(0., farthest - nearest + margin);
          ++number;
        }
      }
      EXPECT_EQ(kind == this->ORDERED ? 2 : kind == this->ALL ? 6 * 3 + 2 * 4 : 5, number);
      EXPECT_EQ(0, this->top_[0]->num_axes());
      this->ExpectNear({sum ? loss : loss / number}, this->Top());
    }
  }
}

TYPED_TEST(TripletLossLayerTest, TestHandWorked) {
  typedef typename TypeParam::Dtype Dtype;
  this->FourVideos();
  // All eight triplets: 0.7 + 1.1 + 0.15 + 0.2 + 0.6 = 2.75.
  TripletLossLayer<Dtype> all(this->Param(this->ALL, 0.4));
  this->Run(&all);
  this->ExpectNear({2.75 / 8}, this->Top());
  // Each anchor's nearest negative is 2, 2, 1, 1: 0.7 + 1.1 + 0.6 + 0.
  TripletLossLayer<Dtype> hard(this->Param(this->HARD, 0.4));
  this->Run(&hard);
  this->ExpectNear({2.4 / 4}, this->Top());
  // The gradient 4 over four triplets: 1 for each open one's positive, -1 for its negative.
  this->Backward(&hard, {true, false}, {4});
  this->ExpectNear({0, 1, -1, 0, 1, 0, -1, 0, 0, -1, 0, 1, 0, 0, 0, 0}, this->Diff(0));
  // Of two ordered triplets the second is closed: (1 - 1.5 + 0.8) and (1 - 2 + 0.8).
  this->Set(0, {6, 6}, vector<double>(36, 9));
  this->Set(1, {6}, {0, 0, 3, 3, 3, 0});
  const int places[] = {1, 2, 22, 23};
  const double distances[] = {1, 1.5, 1, 2};
  for (int i = 0; i < 4; ++i) {
    this->bottom_[0]->mutable_cpu_data()[places[i]] = distances[i];
  }
  TripletLossLayer<Dtype> ordered(this->Param(this->ORDERED, 0.8));
  this->Run(&ordered);
  this->ExpectNear({0.15}, this->Top());
  this->Backward(&ordered, {true, false}, {1});
  vector<double> expected(36, 0);
  expected[1] = 0.5;
  expected[2] = -0.5;
  this->ExpectNear(expected, this->Diff(0));
  TripletLossLayer<Dtype> sum(this->Param(this->ORDERED, 0.8, true));
  this->Run(&sum);
  this->ExpectNear({0.3}, this->Top());
}

// Each gradient that is not 0 is 0.25 to 4: threshold 0.001. No hinge of FourVideos
// is nearer to its corner than 0.15, no two distances of an anchor are nearer than 0.2: the step is 0.01.
TYPED_TEST(TripletLossLayerTest, TestGradient) {
  typedef typename TypeParam::Dtype Dtype;
  this->FourVideos();
  for (auto kind : {this->ALL, this->HARD}) {
    for (bool sum : {false, true}) {
      TripletLossLayer<Dtype> layer(this->Param(kind, 0.4, sum));
      this->CheckGradient(&layer, 0);
    }
  }
  // Three videos of one person and one of another: each anchor's negative is in two triplets of ALL, all
  // open.
  this->Set(0, {4, 4}, {0, 1.0, 0.7, 0.9,
                        1.0, 0, 1.3, 1.1,
                        0.7, 1.3, 0, 0.8,
                        0.9, 1.1, 0.8, 0});
  this->Set(1, {4}, {5, 5, 5, 8});
  for (auto kind : {this->ALL, this->HARD}) {
    TripletLossLayer<Dtype> layer(this->Param(kind, 0.4));
    this->CheckGradient(&layer, 0);
  }
  this->Set(0, {3, 3}, {0, 1, 0.7, 1, 0, 0.3, 0.7, 0.3, 0});
  this->Set(1, {3}, {5, 5, 8});
  TripletLossLayer<Dtype> layer(this->Param(this->ORDERED, 0.4));
  this->CheckGradient(&layer, 0);
}

TYPED_TEST(TripletLossLayerTest, TestAccumulation) {
  typedef typename TypeParam::Dtype Dtype;
  this->FourVideos();
  TripletLossLayer<Dtype> layer(this->Param(this->ALL, 0.4));
  this->ExpectAccumulation(&layer, {true, false});
}

TYPED_TEST(TripletLossLayerTest, TestReshape) {
  typedef typename TypeParam::Dtype Dtype;
  for (auto kind : {this->ORDERED, this->ALL, this->HARD}) {
    TripletLossLayer<Dtype> layer(this->Param(kind, 0.5)), fresh(this->Param(kind, 0.5));
    this->ExpectReshape(&layer, &fresh, {true, false},
        [this] { this->Draw(0, {6, 6}, 0, 2), this->Set(1, {6}, {1, 1, 2, 2, 2, 1}); },
        [this] { this->Draw(0, {3, 3}, 0, 2), this->Set(1, {3}, {4, 4, 2}); });
  }
}

TYPED_TEST(TripletLossLayerTest, TestRefusals) {
  typedef typename TypeParam::Dtype Dtype;
  this->FourVideos();
  LayerParameter param = this->Param(this->ALL, 1);
  param.mutable_loss_param()->set_normalization(LossParameter_NormalizationMode_FULL);
  TripletLossLayer<Dtype> none((LayerParameter())), negative(this->Param(this->ALL, -1)), full(param),
      all(this->Param(this->ALL, 1)), ordered(this->Param(this->ORDERED, 1));
  EXPECT_REFUSED(none.SetUp(this->bottom_, this->top_), "needs a margin");
  EXPECT_REFUSED(negative.SetUp(this->bottom_, this->top_), "needs a margin of at least 0");
  EXPECT_REFUSED(full.SetUp(this->bottom_, this->top_), "normalization must be VALID");
  EXPECT_REFUSED(ordered.SetUp(this->bottom_, this->top_), "4 videos are no whole number of");
  this->Run(&all);
  EXPECT_REFUSED(this->Backward(&all, {true, true}, {1}), "a label has no gradient");
  this->Draw(1, {5}, 0, 1);
  EXPECT_REFUSED(all.SetUp(this->bottom_, this->top_), "5 labels for 4 videos");
  this->Draw(0, {4, 3}, 0, 1);
  EXPECT_REFUSED(all.SetUp(this->bottom_, this->top_), "must be V x V, not 4 3 (12)");
  this->Draw(0, {3, 3}, 0, 1);
  for (double third : {2., 7.}) {
    this->Set(1, {3}, {7, third, 7});
    ordered.SetUp(this->bottom_, this->top_);
    EXPECT_REFUSED(ordered.Forward(this->bottom_, this->top_), "videos 0, 1, 2 have labels 7, ");
    if (TypeParam::device == Caffe::GPU) {  // Wrong labels that lie there are not read back, they make NaN.
      this->bottom_[1]->mutable_gpu_data();
      this->Run(&ordered);
      EXPECT_TRUE(std::isnan(this->Top()[0]));
    }
  }
}

TYPED_TEST(TripletLossLayerTest, TestNoTriplet) {
  typedef typename TypeParam::Dtype Dtype;
  // One identity, and one video of each: neither has a triplet.
  for (auto kind : {this->ALL, this->HARD}) {
    for (bool sum : {false, true}) {
      for (double other : {4., 3.}) {
        this->Set(0, {2, 2}, {0, 1, 1, 0});
        this->Set(1, {2}, {4, other});
        TripletLossLayer<Dtype> layer(this->Param(kind, 1, sum));
        this->Run(&layer);
        this->ExpectNear({0}, this->Top(), 0);
        this->Backward(&layer, {true, false}, {1});
        this->ExpectNear({0, 0, 0, 0}, this->Diff(0), 0);
      }
    }
  }
}

TYPED_TEST(TripletLossLayerTest, TestDegenerate) {
  typedef typename TypeParam::Dtype Dtype;
  // Equal distances: the loss is the margin. HARD takes the first of equals.
  this->Set(0, {5, 5}, vector<double>(25, 0.5));
  this->Set(1, {5}, {1, 2, 1, 2, 1});
  TripletLossLayer<Dtype> hard(this->Param(this->HARD, 0.8, true));
  this->Run(&hard);
  this->ExpectNear({5 * 0.8}, this->Top());
  this->Backward(&hard, {true, false}, {1});
  this->ExpectNear({0, -1, 1, 0, 0,
                    -1, 0, 0, 1, 0,
                    1, -1, 0, 0, 0,
                    -1, 1, 0, 0, 0,
                    1, -1, 0, 0, 0}, this->Diff(0));
  // At the hinge's corner, 1 - 1.5 + 0.5 = 0, the derivative is 0.
  this->Set(0, {3, 3}, {0, 1, 1.5, 1, 0, 1.5, 1.5, 1.5, 0});
  this->Set(1, {3}, {1, 1, 2});
  TripletLossLayer<Dtype> ordered(this->Param(this->ORDERED, 0.5));
  this->Run(&ordered);
  this->ExpectNear({0}, this->Top(), 0);
  this->Backward(&ordered, {true, false}, {1});
  this->ExpectNear(vector<double>(9, 0), this->Diff(0), 0);
  // A distance that is no number shows in the loss.
  this->bottom_[0]->mutable_cpu_data()[1] = std::numeric_limits<Dtype>::quiet_NaN();
  this->Run(&ordered);
  EXPECT_TRUE(std::isnan(this->Top()[0]));
}

TYPED_TEST(TripletLossLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  for (auto kind : {this->ORDERED, this->ALL, this->HARD}) {
    for (int videos : {1, 3, 6, 33, 300}) {
      if (videos == (kind == this->ALL ? 300 : kind == this->ORDERED ? 1 : 0)) {
        continue;  // a long sum; no triplet
      }
      vector<double> labels, distances = this->Drawn(videos * videos, 0, 2, 0);
      for (int v = 0; v < videos; ++v) {
        labels.push_back(kind == this->ORDERED ? v % 3 == 2 : v * v % 7);
      }
      for (double& distance : distances) {
        distance = std::floor(8 * distance) / 8;  // with ties, and hinges at their corner
      }
      for (bool sum : {false, true}) {
        const LayerParameter param = this->Param(kind, 0.25, sum);
        TripletLossLayer<Dtype> layer(param), on_cpu(param);
        this->Set(0, {videos, videos}, distances);
        this->Set(1, {videos}, labels);
        this->ExpectMatchesCpu(&layer, &on_cpu, {true, false});
        this->ExpectMatchesCpu(&layer, &on_cpu, {false, false});
        this->bottom_[0]->mutable_cpu_data()[videos * videos / 2] = std::numeric_limits<Dtype>::quiet_NaN();
        this->ExpectMatchesCpu(&layer, &on_cpu, {true, false});
      }
    }
  }
}

}  // namespace caffe
