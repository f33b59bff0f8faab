#ifndef CAFFE_TEST_LAYER_UTIL_HPP_
#define CAFFE_TEST_LAYER_UTIL_HPP_

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/layer.hpp"
#include "caffe/util/math_functions.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_gradient_check_util.hpp"

/// Fails unless the statement throws std::invalid_argument with a sentence that has `words` in it.
#define EXPECT_REFUSED(statement, words) \
  try { \
    statement; \
    ADD_FAILURE() << "accepted: " #statement; \
  } catch (const std::invalid_argument& refusal) { \
    EXPECT_NE(std::string::npos, std::string(refusal.what()).find(words)) << refusal.what(); \
  }

namespace caffe {

/// Bottoms and tops of one layer, and the checks that each layer has to pass.
template <typename TypeParam>
class LayerTest : public MultiDeviceTest<TypeParam> {
 protected:
  typedef typename TypeParam::Dtype Dtype;

  /// Gives bottom i this shape and these values, row by row.
  void Set(int i, const vector<int>& shape, const vector<double>& values) {
    Require(i + 1, &bottom_);
    bottom_[i]->Reshape(shape);
    ASSERT_EQ(values.size(), bottom_[i]->count());
    std::copy(values.begin(), values.end(), bottom_[i]->mutable_cpu_data());
  }

  /// Gives bottom i this shape and values between low and high: the same ones for the same arguments.
  void Draw(int i, const vector<int>& shape, double low, double high) {
    int count = 1;
    for (int size : shape) {
      count *= size;
    }
    Set(i, shape, Drawn(count, low, high, i));
  }

  void Tops(int number) { Require(number, &top_); }

  static vector<double> Drawn(int count, double low, double high, int seed) {
    std::mt19937 random(1701 + seed);
    vector<double> values(count);
    for (double& value : values) {
      value = low + (high - low) * (random() / 4294967296.0);
    }
    return values;
  }

  static vector<double> Data(const Blob<Dtype>& blob) {
    return vector<double>(blob.cpu_data(), blob.cpu_data() + blob.count());
  }
  static vector<double> Diff(const Blob<Dtype>& blob) {
    return vector<double>(blob.cpu_diff(), blob.cpu_diff() + blob.count());
  }
  vector<double> Data(int i) const { return Data(*bottom_[i]); }
  vector<double> Diff(int i) const { return Diff(*bottom_[i]); }
  vector<double> Top(int i = 0) const { return Data(*top_[i]); }

  /// Each value within `tolerance` times the larger of 1 and its size. A NaN is near nothing.
  static void ExpectNear(const vector<double>& expected, const vector<double>& values,
      double tolerance = 1e-5) {
    ASSERT_EQ(expected.size(), values.size());
    for (int i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(expected[i], values[i], tolerance * std::max(1., std::fabs(expected[i]))) << "value " << i;
    }
  }

  void Run(Layer<Dtype>* layer) {
    layer->SetUp(bottom_, top_);
    layer->Forward(bottom_, top_);
  }

  void SetTopDiff(int i, const vector<double>& values) {
    ASSERT_EQ(values.size(), top_[i]->count());
    std::copy(values.begin(), values.end(), top_[i]->mutable_cpu_diff());
  }
  /// Gives the tops gradients between 0.5 and 1.5.
  void DrawTopDiffs() {
    for (int i = 0; i < top_.size(); ++i) {
      SetTopDiff(i, Drawn(top_[i]->count(), 0.5, 1.5, 100 + i));
    }
  }
  /// Backward with the tops' gradients as they are, or with these of the first. The bottoms' old gradients
  /// are sevens, so one that is not written shows.
  void Backward(Layer<Dtype>* layer, const vector<bool>& propagate_down) {
    BackwardOver(7, layer, propagate_down);
  }
  void Backward(Layer<Dtype>* layer, const vector<bool>& propagate_down, const vector<double>& top_diff) {
    SetTopDiff(0, top_diff);
    BackwardOver(7, layer, propagate_down);
  }

  /// Checks the gradients of bottom i (below 0: none) and of the parameters, of each value of the tops alone
  /// (times 2) and of half the sum of all their squares, which is where a gradient has to be summed over the
  /// tops.
  void CheckGradient(Layer<Dtype>* layer, int i, double threshold = 1e-3, double step = 4e-3) {
    GradientChecker<Dtype> checker(step, threshold);
    checker.CheckGradientExhaustive(layer, bottom_, top_, i);
    if (top_.size() > 1 || top_[0]->count() > 1) {
      checker.CheckGradient(layer, bottom_, top_, i);
    }
  }

  /// Backward replaces the gradients of the bottoms, whatever they were, and adds to those of the parameters.
  void ExpectAccumulation(Layer<Dtype>* layer, const vector<bool>& propagate_down) {
    Run(layer);
    DrawTopDiffs();
    vector<vector<double> > bottoms, parameters;
    for (int b = 0; b < layer->blobs().size(); ++b) {
      caffe_set(layer->blobs()[b]->count(), Dtype(0), layer->blobs()[b]->mutable_cpu_diff());
    }
    BackwardOver(7, layer, propagate_down);
    for (int i = 0; i < bottom_.size(); ++i) {
      bottoms.push_back(Diff(i));
    }
    for (int b = 0; b < layer->blobs().size(); ++b) {
      EXPECT_GT(layer->blobs()[b]->asum_diff(), 0);
      parameters.push_back(Diff(*layer->blobs()[b]));
    }
    BackwardOver(-3, layer, propagate_down);
    for (int i = 0; i < bottom_.size(); ++i) {
      if (propagate_down[i]) {
        EXPECT_EQ(bottoms[i], Diff(i)) << "bottom " << i;
      }
    }
    for (int b = 0; b < layer->blobs().size(); ++b) {
      for (double& value : parameters[b]) {
        value *= 2;
      }
      ExpectNear(parameters[b], Diff(*layer->blobs()[b]), 1e-6);
    }
  }

  /// A layer goes from the bottoms that `first` makes to those of `second`, of other sizes, and back. Both
  /// must give what they give in a layer that has seen nothing else; `fresh` is one.
  void ExpectReshape(Layer<Dtype>* layer, Layer<Dtype>* fresh, const vector<bool>& propagate_down,
      const std::function<void()>& first, const std::function<void()>& second) {
    first();
    layer->SetUp(bottom_, top_);
    const vector<double> before = Results(layer, propagate_down);
    second();
    const vector<double> between = Results(layer, propagate_down);
    EXPECT_NE(before.size(), between.size());
    fresh->SetUp(bottom_, top_);
    ExpectNear(Results(fresh, propagate_down), between, 1e-6);
    first();
    ExpectNear(before, Results(layer, propagate_down), 1e-6);
  }

  /// `layer` gives on this test's device what `on_cpu`, a second one of the same parameters, gives on the CPU: tops,
  /// gradients of the bottoms and of the parameters, each within `roundings` (of 1e-7, in double 2e-16) of the largest
  /// value of its blob. A second pass gives the same bits if the layer `repeats` them, else is as near to the first; on the
  /// GPU it starts from bottoms that lie there, labels and boxes too, and copies neither bottoms nor tops to the host.
  void ExpectMatchesCpu(Layer<Dtype>* layer, Layer<Dtype>* on_cpu, const vector<bool>& propagate_down,
      double roundings = 256, bool repeats = true) {
    Caffe::set_mode(Caffe::CPU);
    on_cpu->SetUp(bottom_, top_);
    const vector<vector<double> > expected = Outcome(on_cpu, propagate_down);
    Caffe::set_mode(TypeParam::device);
    layer->SetUp(bottom_, top_);
    for (int b = 0; b < on_cpu->blobs().size(); ++b) {
      layer->blobs()[b]->CopyFrom(*on_cpu->blobs()[b]);
    }
    const vector<vector<double> > outcome = Outcome(layer, propagate_down);
    ASSERT_EQ(expected.size(), outcome.size());
    for (int b = 0; b < outcome.size(); ++b) {
      ExpectWithin(roundings * std::numeric_limits<Dtype>::epsilon(), expected[b], outcome[b], b);
    }
    if (TypeParam::device == Caffe::GPU) {
      for (Blob<Dtype>* blob : bottom_) {
        blob->mutable_gpu_data();
      }
    }
    const vector<vector<double> > again = Outcome(layer, propagate_down);
    for (int b = 0; b < outcome.size(); ++b) {
      ExpectWithin(repeats ? 0 : roundings * std::numeric_limits<Dtype>::epsilon(), outcome[b], again[b], b);
    }
  }

  vector<Blob<Dtype>*> bottom_, top_;

 private:
  /// The tops, the gradients of the bottoms (sevens before) and those of the parameters (threes before), a vector each.
  vector<vector<double> > Outcome(Layer<Dtype>* layer, const vector<bool>& propagate_down) {
    vector<SyncedMemory::SyncedHead> places;
    for (Blob<Dtype>* blob : bottom_) {
      places.push_back(blob->data()->head());
    }
    for (Blob<Dtype>* top : top_) {  // a value that is not written shows
      caffe_set(top->count(), std::numeric_limits<Dtype>::quiet_NaN(), top->mutable_cpu_data());
    }
    layer->Forward(bottom_, top_);
    for (int i = 0; i < top_.size(); ++i) {
      SetTopDiff(i, Drawn(top_[i]->count(), -1, 1, 200 + i));
    }
    for (const shared_ptr<Blob<Dtype> >& blob : layer->blobs()) {
      caffe_set(blob->count(), Dtype(3), blob->mutable_cpu_diff());
    }
    BackwardOver(7, layer, propagate_down);
    for (int i = 0; i < bottom_.size(); ++i) {
      if (Caffe::mode() == Caffe::GPU && places[i] == SyncedMemory::HEAD_AT_GPU) {
        EXPECT_EQ(places[i], bottom_[i]->data()->head()) << "bottom " << i << " was copied to the host";
      }
    }
    vector<vector<double> > outcome;
    for (int i = 0; i < top_.size(); ++i) {
      if (Caffe::mode() == Caffe::GPU) {
        EXPECT_EQ(SyncedMemory::HEAD_AT_GPU, top_[i]->data()->head()) << "top " << i << " was on the host";
      }
      outcome.push_back(Top(i));
    }
    for (int i = 0; i < bottom_.size(); ++i) {
      outcome.push_back(Diff(i));
    }
    for (const shared_ptr<Blob<Dtype> >& blob : layer->blobs()) {
      outcome.push_back(Diff(*blob));
    }
    return outcome;
  }

  /// Each value within `tolerance` times the largest finite one of `expected`. A NaN goes with a NaN, an infinity with
  /// the same one.
  static void ExpectWithin(double tolerance, const vector<double>& expected, const vector<double>& values, int blob) {
    ASSERT_EQ(expected.size(), values.size()) << "blob " << blob;
    double largest = 0;
    for (double value : expected) {
      largest = std::isfinite(value) ? std::max(largest, std::fabs(value)) : largest;
    }
    for (int i = 0; i < values.size(); ++i) {
      if (std::isfinite(expected[i])) {
        EXPECT_NEAR(expected[i], values[i], tolerance * largest) << "value " << i << " of blob " << blob;
      } else {
        EXPECT_TRUE(std::isnan(expected[i]) ? std::isnan(values[i]) : expected[i] == values[i])
            << "value " << i << " of blob " << blob << " is " << values[i] << ", not " << expected[i];
      }
    }
  }

  void BackwardOver(double old, Layer<Dtype>* layer, const vector<bool>& propagate_down) {
    for (Blob<Dtype>* blob : bottom_) {
      caffe_set(blob->count(), Dtype(old), blob->mutable_cpu_diff());
    }
    layer->Backward(top_, propagate_down, bottom_);
  }

  /// The tops and the gradients of the bottoms, one behind the other.
  vector<double> Results(Layer<Dtype>* layer, const vector<bool>& propagate_down) {
    layer->Forward(bottom_, top_);
    DrawTopDiffs();
    Backward(layer, propagate_down);
    vector<double> results;
    for (Blob<Dtype>* top : top_) {
      results.insert(results.end(), top->cpu_data(), top->cpu_data() + top->count());
    }
    for (int i = 0; i < bottom_.size(); ++i) {
      if (propagate_down[i]) {
        results.insert(results.end(), bottom_[i]->cpu_diff(), bottom_[i]->cpu_diff() + bottom_[i]->count());
      }
    }
    return results;
  }

  void Require(int number, vector<Blob<Dtype>*>* blobs) {
    while (blobs->size() < number) {
      owned_.push_back(shared_ptr<Blob<Dtype> >(new Blob<Dtype>()));
      blobs->push_back(owned_.back().get());
    }
  }

  vector<shared_ptr<Blob<Dtype> > > owned_;
};

}  // namespace caffe

#endif  // CAFFE_TEST_LAYER_UTIL_HPP_
