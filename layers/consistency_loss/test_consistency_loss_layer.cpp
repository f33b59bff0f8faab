#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/consistency_loss_layer.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_layer_util.hpp"

namespace caffe {

template <typename TypeParam>
class ConsistencyLossLayerTest : public LayerTest<TypeParam> {
 protected:
  typedef ConsistencyLossParameter_Input Input;
  typedef typename TypeParam::Dtype Dtype;
  static const int V = 2, T = 2, R = 2, K = 3, C = 2;

  ConsistencyLossLayerTest() { this->Tops(1); }

  /// Bottoms as `input` takes them.
  void Fill(Input input, int v = V, int t = T) {
    this->bottom_.clear();
    if (input == AGGREGATED) {
      this->Draw(0, {v, R, C}, -2, 2);
    } else {
      this->Draw(0, {v * t, C}, -2, 2);
      this->Draw(1, {v * t, C}, -2, 2);
    }
    vector<double> labels;
    for (int i = 0; i < v; ++i) {
      labels.push_back((i + 2) % K);
    }
    this->Set(this->bottom_.size(), {v}, labels);
    if (input == WEIGHTED) {
      this->Draw(R + 1, {v * t, R}, 0.1, 0.5);
    }
  }

  static LayerParameter Param(Input input, bool sum = false, int num_output = K, int frames = T) {
    LayerParameter param;
    param.mutable_consistency_loss_param()->set_input(input);
    param.mutable_consistency_loss_param()->set_num_output(num_output);
    param.mutable_consistency_loss_param()->set_frames(frames);
    if (sum) {
      param.mutable_loss_param()->set_normalization(LossParameter_NormalizationMode_NONE);
    }
    return param;
  }

  /// The same with these softmax matrices (R x K x C).
  static LayerParameter With(LayerParameter param, const vector<int>& shape, const vector<double>& values) {
    Blob<Dtype> weights(shape);
    std::copy(values.begin(), values.end(), weights.mutable_cpu_data());
    weights.ToProto(param.add_blobs());
    return param;
  }
  static LayerParameter Drawn(Input input, bool sum = false) {
    return With(Param(input, sum), {R, K, C}, LayerTest<TypeParam>::Drawn(R * K * C, -1.5, 1.5, 50));
  }

  vector<bool> Down(Input input) const {
    return input == FRAMES ? vector<bool>{true, true, false} :
        input == WEIGHTED ? vector<bool>{true, true, false, true} : vector<bool>{true, false};
  }

  double Expected(Input input, bool sum, const vector<double>& weights) const {
    const int t = input == AGGREGATED ? 1 : T;
    double loss = 0;
    for (int v = 0; v < V; ++v) {
      for (int r = 0; r < R; ++r) {
        double scores = 0;
        for (int s = 0; s < t; ++s) {
          scores += input == WEIGHTED ? this->Data(R + 1)[(v * t + s) * R + r] : 1;
        }
        for (int s = 0; s < t; ++s) {
          const int row = v * t + s;
          const double* w = weights.data() + r * K * C;
          double total = 0, label = 0;
          for (int k = 0; k < K; ++k) {
            double logit = 0;
            for (int c = 0; c < C; ++c) {
              logit += w[k * C + c] * (input == AGGREGATED ? this->Data(0)[(row * R + r) * C + c] :
                  this->Data(r)[row * C + c]);
            }
            total += std::exp(logit);
            label = k == (v + 2) % K ? logit : label;
          }
          const double factor = input == WEIGHTED ? this->Data(R + 1)[row * R + r] / scores : 1;
          loss -= factor * std::log(std::exp(label) / total);
        }
      }
    }
    return sum ? loss : loss / (R * V * (input == WEIGHTED ? 1 : t));
  }

  const Input FRAMES = ConsistencyLossParameter_Input_FRAMES,
      WEIGHTED = ConsistencyLossParameter_Input_WEIGHTED_FRAMES,
      AGGREGATED = ConsistencyLossParameter_Input_AGGREGATED;
};

TYPED_TEST_CASE(ConsistencyLossLayerTest, TestDtypesAndDevices);

TYPED_TEST(ConsistencyLossLayerTest, TestForward) {
  typedef typename TypeParam::Dtype Dtype;
  for (auto input : {this->FRAMES, this->WEIGHTED, this->AGGREGATED}) {
    for (bool sum : {false, true}) {
      this->Fill(input);
      ConsistencyLossLayer<Dtype> layer(this->Drawn(input, sum));
      this->Run(&layer);
      EXPECT_EQ(0, this->top_[0]->num_axes());
      this->ExpectNear({this->Expected(input, sum, this->Data(*layer.blobs()[0]))}, this->Top());
    }
  }
}

TYPED_TEST(ConsistencyLossLayerTest, TestHandWorked) {
  typedef typename TypeParam::Dtype Dtype;
  // One part of one value, W = (0, ln 3): the feature 1 has the softmax (1/4, 3/4), the feature 0 (1/2, 1/2).
  // Label 0: the losses are ln 4 and ln 2, their mean 1.5 ln 2; weighted by the scores 1 and 3: (2 + 3) / 4
  // ln 2.
  const double ln2 = std::log(2.);
  const vector<int> shape = {1, 2, 1};
  const vector<double> weights = {0, std::log(3.)};
  this->Set(0, {2, 1}, {1, 0});
  this->Set(1, {1}, {0});
  ConsistencyLossLayer<Dtype> frames(this->With(this->Param(this->FRAMES, false, 2), shape, weights));
  this->Run(&frames);
  this->ExpectNear({1.5 * ln2}, this->Top());
  // Halved: p - e = (-3/4, 3/4) and (-1/2, 1/2), times W for the features, times the features for W.
  this->Backward(&frames, {true, false}, {1});
  this->ExpectNear({0.375 * std::log(3.), 0.25 * std::log(3.)}, this->Diff(0));
  this->ExpectNear({-0.375, 0.375}, this->Diff(*frames.blobs()[0]));
  ConsistencyLossLayer<Dtype> sum(this->With(this->Param(this->FRAMES, true, 2), shape, weights));
  this->Run(&sum);
  this->ExpectNear({3 * ln2}, this->Top());

  this->Set(2, {2, 1}, {1, 3});
  ConsistencyLossLayer<Dtype> weighted(this->With(this->Param(this->WEIGHTED, false, 2), shape, weights));
  this->Run(&weighted);
  this->ExpectNear({1.25 * ln2}, this->Top());
  // (2 - 1.25) ln 2 / 4 and (1 - 1.25) ln 2 / 4.
  this->Backward(&weighted, {true, false, true}, {1});
  this->ExpectNear({0.1875 * ln2, -0.0625 * ln2}, this->Diff(2));

  this->bottom_.resize(2);
  this->Set(0, {2, 1, 1}, {1, 0});
  this->Set(1, {2}, {0, 1});
  ConsistencyLossLayer<Dtype> aggregated(this->With(this->Param(this->AGGREGATED, false, 2), shape, weights));
  this->Run(&aggregated);
  this->ExpectNear({1.5 * ln2}, this->Top());
}

// Half of the gradients are above 0.16, and above 0.4 but for the features of part 2; the largest are 0.6 to
// 6: threshold 0.001.
TYPED_TEST(ConsistencyLossLayerTest, TestGradientFrames) {
  typedef typename TypeParam::Dtype Dtype;
  for (bool sum : {false, true}) {
    this->Fill(this->FRAMES);
    ConsistencyLossLayer<Dtype> layer(this->Drawn(this->FRAMES, sum));
    this->CheckGradient(&layer, 0);
    this->CheckGradient(&layer, 1);
  }
}

TYPED_TEST(ConsistencyLossLayerTest, TestGradientWeightedFrames) {
  typedef typename TypeParam::Dtype Dtype;
  for (bool sum : {false, true}) {
    this->Fill(this->WEIGHTED);
    ConsistencyLossLayer<Dtype> layer(this->Drawn(this->WEIGHTED, sum));
    this->CheckGradient(&layer, 0);
    this->CheckGradient(&layer, 1);
    this->CheckGradient(&layer, 3);
  }
}

TYPED_TEST(ConsistencyLossLayerTest, TestGradientAggregated) {
  typedef typename TypeParam::Dtype Dtype;
  for (bool sum : {false, true}) {
    this->Fill(this->AGGREGATED);
    ConsistencyLossLayer<Dtype> layer(this->Drawn(this->AGGREGATED, sum));
    this->CheckGradient(&layer, 0);
  }
}

TYPED_TEST(ConsistencyLossLayerTest, TestAccumulation) {
  typedef typename TypeParam::Dtype Dtype;
  for (auto input : {this->FRAMES, this->WEIGHTED, this->AGGREGATED}) {
    this->Fill(input);
    ConsistencyLossLayer<Dtype> layer(this->Drawn(input));
    this->ExpectAccumulation(&layer, this->Down(input));
  }
}

TYPED_TEST(ConsistencyLossLayerTest, TestFixedMatrices) {
  typedef typename TypeParam::Dtype Dtype;
  this->Fill(this->FRAMES);
  ConsistencyLossLayer<Dtype> layer(this->Drawn(this->FRAMES));
  this->Run(&layer);
  layer.set_param_propagate_down(0, false);
  caffe_set(layer.blobs()[0]->count(), Dtype(0), layer.blobs()[0]->mutable_cpu_diff());
  this->Backward(&layer, {true, true, false}, {1});
  EXPECT_EQ(0, layer.blobs()[0]->asum_diff());
}

TYPED_TEST(ConsistencyLossLayerTest, TestReshape) {
  typedef typename TypeParam::Dtype Dtype;
  for (auto input : {this->FRAMES, this->WEIGHTED, this->AGGREGATED}) {
    ConsistencyLossLayer<Dtype> layer(this->Drawn(input)), fresh(this->Drawn(input));
    this->ExpectReshape(&layer, &fresh, this->Down(input), [this, input] { this->Fill(input, 3); },
        [this, input] { this->Fill(input, 1); });
  }
}

TYPED_TEST(ConsistencyLossLayerTest, TestRefusedParameters) {
  typedef typename TypeParam::Dtype Dtype;
  this->Fill(this->FRAMES);
  ConsistencyLossLayer<Dtype> no_output(this->Param(this->FRAMES, false, 0)),
      no_frames(this->Param(this->FRAMES, false, 3, 0)), three(this->Param(this->FRAMES, false, 3, 3)),
      aggregated(this->Param(this->AGGREGATED)),
      other(this->With(this->Param(this->FRAMES), {2, 3, 5}, vector<double>(30, 0)));
  EXPECT_REFUSED(no_output.SetUp(this->bottom_, this->top_), "needs num_output");
  EXPECT_REFUSED(no_frames.SetUp(this->bottom_, this->top_), "frames must be at least 1");
  EXPECT_REFUSED(three.SetUp(this->bottom_, this->top_), "4 rows, not a multiple of frames 3");
  EXPECT_REFUSED(aggregated.SetUp(this->bottom_, this->top_), "AGGREGATED takes two bottoms");
  EXPECT_REFUSED(other.SetUp(this->bottom_, this->top_), "have shape 2 3 5 (30), not 2 x 3 x 2");
  LayerParameter param = this->Param(this->FRAMES);
  param.mutable_loss_param()->set_normalization(LossParameter_NormalizationMode_FULL);
  ConsistencyLossLayer<Dtype> full(param);
  EXPECT_REFUSED(full.SetUp(this->bottom_, this->top_), "normalization must be VALID (the mean) or NONE");
  ConsistencyLossLayer<Dtype> scores_only(this->Param(this->WEIGHTED));
  this->bottom_.resize(2);
  EXPECT_REFUSED(scores_only.SetUp(this->bottom_, this->top_), "before the labels and the scores");
}

TYPED_TEST(ConsistencyLossLayerTest, TestRefusedBottoms) {
  typedef typename TypeParam::Dtype Dtype;
  ConsistencyLossLayer<Dtype> layer(this->Param(this->FRAMES)), weighted(this->Param(this->WEIGHTED)),
      aggregated(this->Param(this->AGGREGATED));
  for (double label : {-1., 3., 0.5}) {
    this->Fill(this->FRAMES);
    this->Set(2, {2}, {0, label});
    layer.SetUp(this->bottom_, this->top_);
    EXPECT_REFUSED(layer.Forward(this->bottom_, this->top_), "is none of 0 .. 2; set num_output");
  }
  if (TypeParam::device == Caffe::GPU) {  // A wrong label that lies there is not read back, it makes NaN.
    this->Fill(this->FRAMES);
    for (double label : {-1., 3., 0.5, 1e30}) {
      this->Set(2, {2}, {0, label});
      this->bottom_[2]->mutable_gpu_data();
      this->Run(&layer);
      EXPECT_TRUE(std::isnan(this->Top()[0]));
      this->Backward(&layer, {true, true, false}, {1});
      EXPECT_FALSE(std::isnan(this->Diff(0)[0]));
      EXPECT_TRUE(std::isnan(this->Diff(0)[7]));
    }
  }
  this->Fill(this->FRAMES);
  this->Run(&layer);
  EXPECT_REFUSED(this->Backward(&layer, {true, true, true}, {1}), "a label has no gradient");
  this->Draw(2, {4}, 0, 1);
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "4 labels for 2 videos");
  this->Draw(1, {4, 3}, 0, 1);
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "features 2 have shape 4 3 (12), not 4 rows of 2");
  this->Fill(this->WEIGHTED);
  this->Draw(3, {4, 5}, 0, 1);
  EXPECT_REFUSED(weighted.SetUp(this->bottom_, this->top_), "scores have shape 4 5 (20), not 4 rows of 2");
  this->Fill(this->AGGREGATED);
  aggregated.SetUp(this->bottom_, this->top_);
  this->Draw(0, {2, 2, 7}, 0, 1);
  EXPECT_REFUSED(aggregated.Forward(this->bottom_, this->top_), "have shape 2 2 7 (28), not V x 2 x 2");
}

TYPED_TEST(ConsistencyLossLayerTest, TestZeroScores) {
  typedef typename TypeParam::Dtype Dtype;
  // The scores of a video sum to 0: its frames count equally, which is the loss of FRAMES, and get no
  // gradient.
  this->Fill(this->FRAMES);
  ConsistencyLossLayer<Dtype> frames(this->Drawn(this->FRAMES));
  this->Run(&frames);
  const vector<double> loss = this->Top();
  this->Set(3, {4, 2}, vector<double>(8, 0));
  ConsistencyLossLayer<Dtype> weighted(this->Drawn(this->WEIGHTED));
  this->Run(&weighted);
  this->ExpectNear(loss, this->Top());
  this->Backward(&weighted, {true, true, false, true}, {1});
  this->ExpectNear(vector<double>(8, 0), this->Diff(3), 0);
}

TYPED_TEST(ConsistencyLossLayerTest, TestDegenerate) {
  typedef typename TypeParam::Dtype Dtype;
  // The default matrices are zeros: ln K, whatever the features. One frame a video makes the scores cancel.
  this->Fill(this->WEIGHTED, 2, 1);
  ConsistencyLossLayer<Dtype> zeros(this->Param(this->WEIGHTED, false, 3, 1));
  this->Run(&zeros);
  this->ExpectNear({std::log(3.)}, this->Top());
  this->Backward(&zeros, {true, true, false, true}, {1});
  this->ExpectNear(vector<double>(4, 0), this->Diff(3));
  // One identity: the loss is 0, and so is each gradient.
  this->Fill(this->FRAMES);
  this->Set(2, {2}, {0, 0});
  ConsistencyLossLayer<Dtype> one(this->With(this->Param(this->FRAMES, false, 1), {2, 1, 2}, {1, 2, 3, 4}));
  this->Run(&one);
  this->ExpectNear({0}, this->Top());
  this->Backward(&one, {true, true, false}, {1});
  this->ExpectNear(vector<double>(8, 0), this->Diff(0));
  // Logits of 0 and 1000 do not overflow: losses 1000 and 0.
  this->bottom_.resize(2);
  this->Set(0, {1, 1}, {1});
  for (double label : {0., 1.}) {
    this->Set(1, {1}, {label});
    const LayerParameter param = this->Param(this->FRAMES, false, 2, 1);
    ConsistencyLossLayer<Dtype> large(this->With(param, {1, 2, 1}, {0, 1000}));
    this->Run(&large);
    this->ExpectNear({label == 0 ? 1000. : 0.}, this->Top());
    this->Backward(&large, {true, false}, {1});
    this->ExpectNear({label == 0 ? 1000. : 0.}, this->Diff(0));
  }
}

TYPED_TEST(ConsistencyLossLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  // Videos, frames, parts, channels, identities; 35 parts take more than one launch.
  for (const vector<int>& size : vector<vector<int> >{{1, 1, 1, 1, 1}, {3, 3, 2, 37, 300}, {5, 2, 3, 130, 17},
      {2, 2, 35, 3, 4}}) {
    const int v = size[0], t = size[1], parts = size[2], c = size[3], k = size[4];
    vector<double> labels;
    for (int i = 0; i < v; ++i) {
      labels.push_back((7 * i + k - 1) % k);
    }
    for (auto input : {this->FRAMES, this->WEIGHTED, this->AGGREGATED}) {
      this->bottom_.clear();
      for (int r = 0; r < parts && input != this->AGGREGATED; ++r) {
        this->Draw(r, {v * t, c}, -1, 1);
      }
      if (input == this->AGGREGATED) {
        this->Draw(0, {v, parts, c}, -1, 1);
      }
      const int label = this->bottom_.size();
      this->Set(label, {v}, labels);
      if (input == this->WEIGHTED) {
        this->Draw(label + 1, {v * t, parts}, 0.1, 0.5);
        for (int s = 0; s < t; ++s) {  // the first video's first part has no score
          this->bottom_[label + 1]->mutable_cpu_data()[s * parts] = 0;
        }
      }
      vector<bool> all(this->bottom_.size(), true), every_other(all);
      all[label] = false;
      for (int i = 0; i < every_other.size(); ++i) {
        every_other[i] = i % 2 && i != label;
      }
      for (bool sum : {false, true}) {
        const LayerParameter param = this->With(this->Param(input, sum, k, t), {parts, k, c},
            this->LayerTest<TypeParam>::Drawn(parts * k * c, -1, 1, 50));
        ConsistencyLossLayer<Dtype> layer(param), on_cpu(param);
        this->ExpectMatchesCpu(&layer, &on_cpu, all);
        this->ExpectMatchesCpu(&layer, &on_cpu, every_other);
      }
    }
  }
}

}  // namespace caffe
