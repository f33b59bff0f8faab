#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/attention_pooling_layer.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_layer_util.hpp"

namespace caffe {

template <typename TypeParam>
class AttentionPoolingLayerTest : public LayerTest<TypeParam> {
 protected:
  static const int V = 2, T = 2, R = 2, C = 3;

  AttentionPoolingLayerTest() {
    Fill(V, T, C);
    this->Tops(2);
  }

  void Fill(int v, int t, int c) {
    this->Draw(0, {v * t, R}, 0.2, 1);
    this->Draw(1, {v * t, c}, -2, 2);
    this->Draw(2, {v * t, c}, -2, 2);
  }

  static LayerParameter Param(int frames = T, bool temporal = true, AttentionGradient gradient = EXACT) {
    LayerParameter param;
    param.mutable_attention_pooling_param()->set_frames(frames);
    param.mutable_attention_pooling_param()->set_temporal(temporal);
    param.mutable_attention_pooling_param()->set_gradient(gradient);
    return param;
  }

  double Score(int v, int t, int r) const { return this->bottom_[0]->cpu_data()[(v * T + t) * R + r]; }
  double Feature(int v, int t, int r, int c) const {
    return this->bottom_[r + 1]->cpu_data()[(v * T + t) * C + c];
  }
};

TYPED_TEST_CASE(AttentionPoolingLayerTest, TestDtypesAndDevices);

TYPED_TEST(AttentionPoolingLayerTest, TestForward) {
  typedef typename TypeParam::Dtype Dtype;
  for (bool temporal : {false, true}) {
    AttentionPoolingLayer<Dtype> layer(this->Param(this->T, temporal));
    this->Run(&layer);
    vector<double> parts, weights;
    for (int v = 0; v < this->V; ++v) {
      for (int r = 0; r < this->R; ++r) {
        double scores = 0, factors = 0;
        vector<double> part(this->C, 0);
        for (int t = 0; t < this->T; ++t) {
          const double factor = temporal ? this->Score(v, t, r) : 1;
          scores += this->Score(v, t, r);
          factors += factor;
          for (int c = 0; c < this->C; ++c) {
            part[c] += factor * this->Feature(v, t, r, c);
          }
        }
        for (double value : part) {
          parts.push_back(value / factors);
        }
        weights.push_back(scores / this->T);
      }
    }
    EXPECT_EQ((vector<int>{2, 2, 3}), this->top_[0]->shape());
    EXPECT_EQ((vector<int>{2, 2}), this->top_[1]->shape());
    this->ExpectNear(parts, this->Top(0));
    this->ExpectNear(weights, this->Top(1));
  }
}

TYPED_TEST(AttentionPoolingLayerTest, TestHandWorked) {
  typedef typename TypeParam::Dtype Dtype;
  // Part 1: scores 1 and 3 for (0, 4) and (4, 8): a quarter of the first and three of the second. Part 2: 2
  // and 2.
  this->Set(0, {2, 2}, {1, 2, 3, 2});
  this->Set(1, {2, 2}, {0, 4, 4, 8});
  this->Set(2, {2, 2}, {6, 0, 0, 2});
  AttentionPoolingLayer<Dtype> layer(this->Param(2));
  this->Run(&layer);
  this->ExpectNear({3, 7, 3, 1}, this->Top(0));
  this->ExpectNear({2, 2}, this->Top(1));
  // With p = (1, 0) for part 1 only and w = (8, 0): f gets (1/4, 0) and (3/4, 0); a gets p (f - f_mean) / 4 +
  // 8 / 2 = (0 - 3) / 4 + 4 and (4 - 3) / 4 + 4.
  this->SetTopDiff(1, {8, 0});
  this->Backward(&layer, {true, true, true}, {1, 0, 0, 0});
  this->ExpectNear({3.25, 0, 4.25, 0}, this->Diff(0));
  this->ExpectNear({0.25, 0, 0.75, 0}, this->Diff(1));
  this->ExpectNear({0, 0, 0, 0}, this->Diff(2));
}

// Half of the gradients are above 1, or 0.2 of the squares: threshold 0.001.
TYPED_TEST(AttentionPoolingLayerTest, TestGradient) {
  typedef typename TypeParam::Dtype Dtype;
  AttentionPoolingLayer<Dtype> layer(this->Param());
  for (int i = 0; i < 3; ++i) {
    this->CheckGradient(&layer, i);
  }
}

TYPED_TEST(AttentionPoolingLayerTest, TestGradientNotTemporal) {
  typedef typename TypeParam::Dtype Dtype;
  AttentionPoolingLayer<Dtype> layer(this->Param(this->T, false));
  for (int i = 0; i < 3; ++i) {
    this->CheckGradient(&layer, i);
  }
}

TYPED_TEST(AttentionPoolingLayerTest, TestGradientPaper) {
  typedef typename TypeParam::Dtype Dtype;
  AttentionPoolingLayer<Dtype> layer(this->Param(this->T, true, PAPER));
  this->Run(&layer);
  this->DrawTopDiffs();
  this->Backward(&layer, {true, true, true});
  const vector<double> f = this->Top(0), p = this->Diff(*this->top_[0]), w = this->Diff(*this->top_[1]);
  vector<double> expected;
  for (int v = 0; v < this->V; ++v) {
    for (int t = 0; t < this->T; ++t) {
      for (int r = 0; r < this->R; ++r) {
        double scores = 0, along = 0;
        for (int s = 0; s < this->T; ++s) {
          scores += this->Score(v, s, r);
        }
        for (int c = 0; c < this->C; ++c) {
          const int i = (v * this->R + r) * this->C + c;
          along += p[i] * (this->Feature(v, t, r, c) - f[i]);
        }
        // Eq. 13: Eq. 11, and Eq. 12 without the 1/T.
        expected.push_back(along / scores + w[v * this->R + r]);
      }
    }
  }
  this->ExpectNear(expected, this->Diff(0));
  this->CheckGradient(&layer, 1);  // the features' gradient is the derivative
  this->CheckGradient(&layer, 2);
}

TYPED_TEST(AttentionPoolingLayerTest, TestAccumulation) {
  typedef typename TypeParam::Dtype Dtype;
  for (bool temporal : {false, true}) {
    AttentionPoolingLayer<Dtype> layer(this->Param(this->T, temporal));
    this->ExpectAccumulation(&layer, {true, true, true});
  }
}

TYPED_TEST(AttentionPoolingLayerTest, TestReshape) {
  typedef typename TypeParam::Dtype Dtype;
  AttentionPoolingLayer<Dtype> layer(this->Param()), fresh(this->Param());
  this->ExpectReshape(&layer, &fresh, {true, true, true}, [this] { this->Fill(3, 2, 2); },
      [this] { this->Fill(1, 2, 5); });
}

TYPED_TEST(AttentionPoolingLayerTest, TestRefusals) {
  typedef typename TypeParam::Dtype Dtype;
  AttentionPoolingLayer<Dtype> none(this->Param(0)), three(this->Param(3)), layer(this->Param());
  EXPECT_REFUSED(none.SetUp(this->bottom_, this->top_), "frames must be at least 1");
  EXPECT_REFUSED(three.SetUp(this->bottom_, this->top_), "4 rows, not a multiple of frames 3");
  this->Draw(2, {4, 2}, 0, 1);
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "features 2 have shape 4 2 (8), not 4 rows of 3");
  this->Draw(2, {6, 3}, 0, 1);
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "features 2 have shape 6 3 (18), not 4 rows of 3");
  this->Draw(0, {4, 5}, 0, 1);
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "5 columns, but 2 feature bottoms follow");
}

TYPED_TEST(AttentionPoolingLayerTest, TestOneFrame) {
  typedef typename TypeParam::Dtype Dtype;
  // T = 1: the parts are the frame's features, the weights its scores, and the parts' gradient misses the
  // scores.
  this->Fill(2, 1, 3);
  AttentionPoolingLayer<Dtype> layer(this->Param(1));
  this->Run(&layer);
  vector<double> parts;
  for (int row = 0; row < 2; ++row) {
    for (int r = 0; r < 2; ++r) {
      for (int c = 0; c < 3; ++c) {
        parts.push_back(this->Data(1 + r)[row * 3 + c]);
      }
    }
  }
  this->ExpectNear(parts, this->Top(0));
  this->ExpectNear(this->Data(0), this->Top(1));
  this->DrawTopDiffs();
  this->Backward(&layer, {true, true, true});
  this->ExpectNear(this->Diff(*this->top_[1]), this->Diff(0));
}

TYPED_TEST(AttentionPoolingLayerTest, TestZeroScores) {
  typedef typename TypeParam::Dtype Dtype;
  // Part 1 has no score: the plain mean, and only w / T for its scores. Part 2 has one: the frame that has
  // it; its scores get w / T + (f - f_mean) / 2 summed over the two values.
  for (double score : {0., -1.}) {
    this->Set(0, {2, 2}, {score, 2, 0, 0});
    this->Set(1, {2, 2}, {0, 4, 4, 8});
    this->Set(2, {2, 2}, {6, 0, 0, 2});
    AttentionPoolingLayer<Dtype> layer(this->Param(2));
    this->Run(&layer);
    this->ExpectNear({2, 6, 6, 0}, this->Top(0));
    this->ExpectNear({score / 2, 1}, this->Top(1));
    this->SetTopDiff(1, {1, 1});
    this->Backward(&layer, {true, true, true}, {1, 1, 1, 1});
    this->ExpectNear({0.5, 0.5, 0.5, 0.5 + (2. - 6.) / 2}, this->Diff(0));
    this->ExpectNear({0.5, 0.5, 0.5, 0.5}, this->Diff(1));
    this->ExpectNear({1, 1, 0, 0}, this->Diff(2));
  }
}

TYPED_TEST(AttentionPoolingLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  // Videos, frames, parts, channels; 35 parts take more than one launch.
  for (const vector<int>& size : vector<vector<int> >{{1, 1, 1, 1}, {3, 8, 6, 300}, {2, 3, 35, 5}, {5, 2, 3, 129}}) {
    const int rows = size[0] * size[1], parts = size[2];
    this->bottom_.clear();
    this->Draw(0, {rows, parts}, 0.1, 0.9);
    vector<bool> scores_only = {true}, features_only = {false}, every_other = {true};
    for (int r = 1; r <= parts; ++r) {
      this->Draw(r, {rows, size[3]}, -2, 2);
      scores_only.push_back(false);
      features_only.push_back(true);
      every_other.push_back(r % 2);
    }
    for (int options = 0; options < 4; ++options) {
      const LayerParameter param = this->Param(size[1], options % 2, options / 2 ? PAPER : EXACT);
      AttentionPoolingLayer<Dtype> layer(param), on_cpu(param);
      this->ExpectMatchesCpu(&layer, &on_cpu, vector<bool>(parts + 1, true));
      this->ExpectMatchesCpu(&layer, &on_cpu, scores_only);
      this->ExpectMatchesCpu(&layer, &on_cpu, features_only);
      this->ExpectMatchesCpu(&layer, &on_cpu, every_other);
    }
  }
  // A part whose scores sum to 0, one whose scores sum to less.
  for (double score : {0., -1.}) {
    this->bottom_.resize(3);
    this->Fill(2, 2, 3);
    this->Set(0, {4, 2}, {score, 2, 0, 0, 0.5, score, 0.5, 0});
    AttentionPoolingLayer<Dtype> layer(this->Param()), on_cpu(this->Param());
    this->ExpectMatchesCpu(&layer, &on_cpu, {true, true, true});
  }
}

}  // namespace caffe
