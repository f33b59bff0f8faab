#include <cmath>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/l1_normalize_layer.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_layer_util.hpp"

namespace caffe {

template <typename TypeParam>
class L1NormalizeLayerTest : public LayerTest<TypeParam> {
 protected:
  static const int V = 2, T = 3, R = 2;

  L1NormalizeLayerTest() {
    this->Draw(0, {V * T, R}, 0.1, 0.9);
    for (int i = 0; i < V * T * R; i += 3) {
      this->bottom_[0]->mutable_cpu_data()[i] *= -1;
    }
    this->Tops(1);
  }

  static LayerParameter Param(int frames = T) {
    LayerParameter param;
    param.mutable_l1_normalize_param()->set_frames(frames);
    return param;
  }
};

TYPED_TEST_CASE(L1NormalizeLayerTest, TestDtypesAndDevices);

TYPED_TEST(L1NormalizeLayerTest, TestForward) {
  typedef typename TypeParam::Dtype Dtype;
  L1NormalizeLayer<Dtype> layer(this->Param());
  this->Run(&layer);
  vector<double> expected;
  for (int v = 0; v < this->V; ++v) {
    double norm = 0;
    for (int i = 0; i < 6; ++i) {
      norm += std::fabs(this->Data(0)[v * 6 + i]);
    }
    for (int i = 0; i < 6; ++i) {
      expected.push_back(this->Data(0)[v * 6 + i] / norm);
    }
  }
  EXPECT_EQ(this->bottom_[0]->shape(), this->top_[0]->shape());
  this->ExpectNear(expected, this->Top());
}

TYPED_TEST(L1NormalizeLayerTest, TestHandWorked) {
  typedef typename TypeParam::Dtype Dtype;
  // Two videos of two frames and two parts: 1 + 2 + 3 + 4 = 10 and |-1| + 1 + 2 + 0 = 4.
  this->Set(0, {4, 2}, {1, 2, 3, 4, -1, 1, 2, 0});
  L1NormalizeLayer<Dtype> layer(this->Param(2));
  this->Run(&layer);
  this->ExpectNear({0.1, 0.2, 0.3, 0.4, -0.25, 0.25, 0.5, 0}, this->Top());
  // The gradient g of one score: (g - sgn(a) g y) / n, so (1 - 0.1) / 10 for itself, -0.1 / 10 for the rest
  // of its map; then (1 - 0.25) / 4 for -1 itself, +0.25 / 4 for its map's positive ones, 0 for the score 0.
  this->Backward(&layer, {true}, {1, 0, 0, 0, 1, 0, 0, 0});
  this->ExpectNear({0.09, -0.01, -0.01, -0.01, 0.1875, 0.0625, 0.0625, 0}, this->Diff(0));
}

// Half of the gradients are above 0.06, or 0.008 of the squares: threshold 0.0001.
TYPED_TEST(L1NormalizeLayerTest, TestGradient) {
  typedef typename TypeParam::Dtype Dtype;
  L1NormalizeLayer<Dtype> layer(this->Param());
  this->CheckGradient(&layer, 0, 1e-4);
}

TYPED_TEST(L1NormalizeLayerTest, TestGradientEps) {
  typedef typename TypeParam::Dtype Dtype;
  LayerParameter param = this->Param();
  param.mutable_l1_normalize_param()->set_eps(1);
  L1NormalizeLayer<Dtype> layer(param);
  this->CheckGradient(&layer, 0, 1e-4);
}

TYPED_TEST(L1NormalizeLayerTest, TestAccumulation) {
  typedef typename TypeParam::Dtype Dtype;
  L1NormalizeLayer<Dtype> layer(this->Param());
  this->ExpectAccumulation(&layer, {true});
}

TYPED_TEST(L1NormalizeLayerTest, TestReshape) {
  typedef typename TypeParam::Dtype Dtype;
  L1NormalizeLayer<Dtype> layer(this->Param()), fresh(this->Param());
  this->ExpectReshape(&layer, &fresh, {true}, [this] { this->Draw(0, {6, 2}, 0.1, 1); },
      [this] { this->Draw(0, {9, 5}, 0.1, 1); });
}

TYPED_TEST(L1NormalizeLayerTest, TestRefusals) {
  typedef typename TypeParam::Dtype Dtype;
  L1NormalizeLayer<Dtype> none(this->Param(0)), four(this->Param(4)), layer(this->Param());
  EXPECT_REFUSED(none.SetUp(this->bottom_, this->top_), "frames must be at least 1");
  EXPECT_REFUSED(four.SetUp(this->bottom_, this->top_), "6 rows, not a multiple of frames 4");
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->bottom_), "the top must be another blob");
  LayerParameter param = this->Param();
  param.mutable_l1_normalize_param()->set_eps(0);
  L1NormalizeLayer<Dtype> zero(param);
  EXPECT_REFUSED(zero.SetUp(this->bottom_, this->top_), "eps must be above 0");
}

TYPED_TEST(L1NormalizeLayerTest, TestDegenerate) {
  typedef typename TypeParam::Dtype Dtype;
  // A video without a score stays zeros, with the gradient g / eps; the other video's map is its own.
  this->Set(0, {2, 2}, {0, 0, 1, 3});
  LayerParameter param = this->Param(1);
  L1NormalizeLayer<Dtype> layer(param);
  this->Run(&layer);
  this->ExpectNear({0, 0, 0.25, 0.75}, this->Top());
  this->Backward(&layer, {true}, {1, 2, 1, 0});
  this->ExpectNear({1e12, 2e12, 0.1875, -0.0625}, this->Diff(0));
  // eps is added to the sum: 1 / (0 + 4) and so on.
  param.mutable_l1_normalize_param()->set_eps(4);
  L1NormalizeLayer<Dtype> large(param);
  this->Run(&large);
  this->ExpectNear({0, 0, 0.125, 0.375}, this->Top());
  this->Backward(&large, {true}, {1, 2, 0, 0});
  this->ExpectNear({0.25, 0.5, 0, 0}, this->Diff(0));
}

TYPED_TEST(L1NormalizeLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  for (const vector<int>& size : vector<vector<int> >{{1, 1, 2}, {5, 3, 2}, {2, 7, 43}, {300, 1, 33}}) {
    const int videos = size[0], frames = size[1], parts = size[2];
    this->Draw(0, {videos * frames, parts}, -1, 1);
    this->bottom_[0]->mutable_cpu_data()[0] = 0;  // a score without a sign
    L1NormalizeLayer<Dtype> layer(this->Param(frames)), on_cpu(this->Param(frames));
    this->ExpectMatchesCpu(&layer, &on_cpu, {true});
    this->ExpectMatchesCpu(&layer, &on_cpu, {false});
  }
  // A map of zeros alone: g / eps.
  this->Set(0, {6, 2}, vector<double>(12, 0));
  L1NormalizeLayer<Dtype> layer(this->Param()), on_cpu(this->Param());
  this->ExpectMatchesCpu(&layer, &on_cpu, {true});
}

TYPED_TEST(L1NormalizeLayerTest, TestNoVideos) {
  typedef typename TypeParam::Dtype Dtype;
  this->Draw(0, {6, 2}, 0.1, 1);
  L1NormalizeLayer<Dtype> layer(this->Param());
  this->Run(&layer);
  this->Backward(&layer, {true}, vector<double>(12, 1));
  this->bottom_[0]->Reshape(vector<int>{0, 2});
  layer.Reshape(this->bottom_, this->top_);
  layer.Forward(this->bottom_, this->top_);
  EXPECT_EQ(0, this->top_[0]->count());
  this->Backward(&layer, {true}, {});
}

}  // namespace caffe
