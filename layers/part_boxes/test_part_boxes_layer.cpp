#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/part_boxes_layer.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_layer_util.hpp"

namespace caffe {

template <typename TypeParam>
class PartBoxesLayerTest : public LayerTest<TypeParam> {
 protected:
  static LayerParameter Param(const vector<vector<int> >& parts = {}, double grow = 0, double min_side = 0,
      int clip_width = 0, int clip_height = 0) {
    LayerParameter param;
    PartBoxesParameter* boxes = param.mutable_part_boxes_param();
    for (const vector<int>& part : parts) {
      PartBoxesParameter_Part* message = boxes->add_part();
      for (int joint : part) {
        message->add_joint(joint);
      }
    }
    boxes->set_grow(grow);
    boxes->set_min_side(min_side);
    boxes->set_clip_width(clip_width);
    boxes->set_clip_height(clip_height);
    return param;
  }

  /// One frame with the points (10, 20), (30, 60), (20, 50).
  void ThreeJoints() {
    this->Set(0, {1, 3, 3}, {10, 20, 0.5, 30, 60, 0.5, 20, 50, 0.5});
    this->Tops(1);
  }

  /// Two frames of five joints with coordinates 0.3 apart or more.
  void FiveJoints() {
    this->Set(0, {2, 5, 3}, {0.5, 4.2, 0.9, 2.1, 0.6, 0.8, 3.4, 2.2, 0.7, 1.2, 5.3, 0.6, 4.6, 1.4, 0.5,
                             4.4, 1.1, 0.9, 0.7, 3.3, 0.8, 1.6, 4.9, 0.7, 3.1, 0.4, 0.6, 2.3, 2.5, 0.5});
    this->Tops(3);
  }
};

TYPED_TEST_CASE(PartBoxesLayerTest, TestDtypesAndDevices);

TYPED_TEST(PartBoxesLayerTest, TestForward) {
  typedef typename TypeParam::Dtype Dtype;
  // The paper's six parts (section III-B), without and with every option.
  const vector<vector<int> > parts = {{1, 2, 3, 6}, {2, 3, 6, 9, 12}, {3, 4, 5}, {6, 7, 8}, {12, 13, 14},
      {9, 10, 11}};
  this->Draw(0, {4, 14, 3}, -10, 70);
  this->Tops(6);
  for (bool options : {false, true}) {
    PartBoxesLayer<Dtype> layer(options ? this->Param({}, 0.2, 30, 50, 60) : this->Param());
    this->Run(&layer);
    int widened = 0, clipped = 0;
    for (int r = 0; r < 6; ++r) {
      vector<double> expected;
      for (int f = 0; f < 4; ++f) {
        double edges[2][2];  // [axis][begin, end]
        for (int axis = 0; axis < 2; ++axis) {
          double low = 1e9, high = -1e9;
          for (int joint : parts[r]) {
            const double value = this->Data(0)[(f * 14 + joint - 1) * 3 + axis];
            low = std::min(low, value);
            high = std::max(high, value);
          }
          if (options) {
            const double centre = (low + high) / 2, last = axis == 0 ? 49 : 59;
            double side = (high - low) * 1.4;
            widened += side < 30;
            side = std::max(side, 30.);
            clipped += centre - side / 2 < 0 || centre + side / 2 > last;
            low = std::min(std::max(centre - side / 2, 0.), last);
            high = std::min(std::max(centre + side / 2, 0.), last);
          }
          edges[axis][0] = low;
          edges[axis][1] = high;
        }
        expected.insert(expected.end(), {double(f), edges[0][0], edges[1][0], edges[0][1], edges[1][1]});
      }
      EXPECT_EQ((vector<int>{4, 5}), this->top_[r]->shape());
      this->ExpectNear(expected, this->Top(r));
    }
    EXPECT_EQ(options, widened > 0);
    EXPECT_EQ(options, clipped > 0);
  }
}

TYPED_TEST(PartBoxesLayerTest, TestHandWorked) {
  typedef typename TypeParam::Dtype Dtype;
  this->ThreeJoints();
  const vector<vector<int> > part = {{1, 2, 3}};
  // x: 10 .. 30, y: 20 .. 60. grow 0.2: 4 and 8 at each end. min_side 30: x about 20, y is 40 long already;
  // after a grow of 0.1 x is 24 long and still widened, y is 16 .. 64. clip: x to 0 .. 24 and y to 0 .. 50.
  const struct {
    LayerParameter param;
    vector<double> box;
  } cases[] = {
      {this->Param(part), {0, 10, 20, 30, 60}},
      {this->Param(part, 0.2), {0, 6, 12, 34, 68}},
      {this->Param(part, 0, 30), {0, 5, 20, 35, 60}},
      {this->Param(part, 0.1, 30), {0, 5, 16, 35, 64}},
      {this->Param(part, 0, 0, 25, 51), {0, 10, 20, 24, 50}},
      {this->Param(part, 0, 0, 25), {0, 10, 20, 24, 60}},
      {this->Param(part, 0, 70, 25, 51), {0, 0, 5, 24, 50}}};
  for (const auto& one : cases) {
    PartBoxesLayer<Dtype> layer(one.param);
    this->Run(&layer);
    this->ExpectNear(one.box, this->Top());
  }
  // Joint 1 has the minima and joint 2 the maxima; the gradient of the frame's number is lost.
  PartBoxesLayer<Dtype> plain(cases[0].param);
  this->Run(&plain);
  this->Backward(&plain, {true}, {9, 1, 2, 3, 4});
  this->ExpectNear({1, 2, 0, 3, 4, 0, 0, 0, 0}, this->Diff(0));
  // Grown, an edge moves by 1.2 with its own joint and by -0.2 with the other.
  PartBoxesLayer<Dtype> grown(cases[1].param);
  this->Run(&grown);
  this->Backward(&grown, {true}, {9, 1, 0, 0, 0});
  this->ExpectNear({1.2, 0, 0, -0.2, 0, 0, 0, 0, 0}, this->Diff(0));
}

// Each gradient that is not 0 is 1 to 2.4, or 0.4 of grow alone; half of the squares' are above 2: threshold
// 0.004. The joints' coordinates are 0.3 or more apart, and no side is nearer than 0.1 to min_side or edge to
// the clip: the step is 0.01.
TYPED_TEST(PartBoxesLayerTest, TestGradient) {
  typedef typename TypeParam::Dtype Dtype;
  const vector<vector<int> > parts = {{1, 2, 3}, {2, 3, 4, 5}, {5}};  // the last has no area
  this->FiveJoints();
  const LayerParameter params[] = {this->Param(parts), this->Param(parts, 0.2), this->Param(parts, 0, 3),
      this->Param(parts, 0.2, 5.45), this->Param(parts, 0, 0, 4, 5), this->Param(parts, 0.2, 5.45, 5, 5)};
  for (const LayerParameter& param : params) {
    PartBoxesLayer<Dtype> layer(param);
    this->CheckGradient(&layer, 0, 4e-3, 1e-2);
  }
}

TYPED_TEST(PartBoxesLayerTest, TestAccumulation) {
  typedef typename TypeParam::Dtype Dtype;
  this->FiveJoints();
  PartBoxesLayer<Dtype> layer(this->Param({{1, 2, 3}, {2, 3, 4, 5}, {5}}));
  this->ExpectAccumulation(&layer, {true});
}

TYPED_TEST(PartBoxesLayerTest, TestReshape) {
  typedef typename TypeParam::Dtype Dtype;
  this->Tops(6);
  PartBoxesLayer<Dtype> layer(this->Param()), fresh(this->Param());
  this->ExpectReshape(&layer, &fresh, {true}, [this] { this->Draw(0, {2, 14, 3}, 0, 50); },
      [this] { this->Draw(0, {5, 15, 3}, 0, 50); });
}

TYPED_TEST(PartBoxesLayerTest, TestRefusals) {
  typedef typename TypeParam::Dtype Dtype;
  this->ThreeJoints();
  PartBoxesLayer<Dtype> paper(this->Param()), two(this->Param({{1}, {2}})), zero(this->Param({{0}})),
      four(this->Param({{1, 4}})), empty(this->Param({{}})), grow(this->Param({{1}}, -0.1)),
      side(this->Param({{1}}, 0, -1)), layer(this->Param({{1, 2}}));
  EXPECT_REFUSED(paper.SetUp(this->bottom_, this->top_), "6 parts but 1 tops");
  EXPECT_REFUSED(two.SetUp(this->bottom_, this->top_), "2 parts but 1 tops");
  EXPECT_REFUSED(zero.SetUp(this->bottom_, this->top_), "part 1 lists joint 0, but joints count from 1");
  EXPECT_REFUSED(four.SetUp(this->bottom_, this->top_), "part 1 lists joint 4, but joints are 1 .. 3");
  EXPECT_REFUSED(empty.SetUp(this->bottom_, this->top_), "part 1 lists no joint");
  EXPECT_REFUSED(grow.SetUp(this->bottom_, this->top_), "grow and min_side must not be negative");
  EXPECT_REFUSED(side.SetUp(this->bottom_, this->top_), "grow and min_side must not be negative");
  for (Dtype value : {std::numeric_limits<Dtype>::quiet_NaN(), std::numeric_limits<Dtype>::infinity()}) {
    this->bottom_[0]->mutable_cpu_data()[3] = value;
    layer.SetUp(this->bottom_, this->top_);
    EXPECT_REFUSED(layer.Forward(this->bottom_, this->top_), "joint 2 has coordinate ");
  }
  this->Draw(0, {1, 3, 2}, 0, 1);
  EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "must be F x J x 3, not 1 3 2 (6)");
  // Joints that were there at first and are gone after a reshape.
  this->Draw(0, {1, 3, 3}, 0, 1);
  layer.SetUp(this->bottom_, this->top_);
  this->Draw(0, {1, 1, 3}, 0, 1);
  EXPECT_REFUSED(layer.Reshape(this->bottom_, this->top_), "part 1 lists joint 2, but joints are 1 .. 1");
}

TYPED_TEST(PartBoxesLayerTest, TestTies) {
  typedef typename TypeParam::Dtype Dtype;
  // All joints in one place: a box without area, whose edges all come from the first joint listed.
  this->Set(0, {1, 3, 3}, {5, 6, 1, 5, 6, 1, 5, 6, 1});
  this->Tops(1);
  PartBoxesLayer<Dtype> layer(this->Param({{2, 1, 3}}));
  this->Run(&layer);
  this->ExpectNear({0, 5, 6, 5, 6}, this->Top());
  this->Backward(&layer, {true}, {0, 1, 2, 3, 4});
  this->ExpectNear({0, 0, 0, 4, 6, 0, 0, 0, 0}, this->Diff(0));
}

TYPED_TEST(PartBoxesLayerTest, TestOffTheImage) {
  typedef typename TypeParam::Dtype Dtype;
  // Joints beside the image stay where they are; clipped, the box is a point of the border without a
  // gradient.
  this->Set(0, {1, 2, 3}, {-20, 130, 1, -5, 190, 1});
  this->Tops(1);
  PartBoxesLayer<Dtype> plain(this->Param({{1, 2}})), clipped(this->Param({{1, 2}}, 0, 0, 64, 128));
  this->Run(&plain);
  this->ExpectNear({0, -20, 130, -5, 190}, this->Top());
  this->Run(&clipped);
  this->ExpectNear({0, 0, 127, 0, 127}, this->Top());
  this->Backward(&clipped, {true}, {1, 1, 1, 1, 1});
  this->ExpectNear(vector<double>(6, 0), this->Diff(0), 0);
}

TYPED_TEST(PartBoxesLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  // Parts that fill no launch, one, and two; joints on whole pixels, so that many tie; sides and edges at their limits.
  for (int frames : {1, 9, 111}) {
    for (int R : {1, 6, 33}) {
      vector<vector<int> > parts;
      for (int r = 0; r < R; ++r) {
        parts.push_back({});
        for (int k = 0; k <= r % 5; ++k) {
          parts.back().push_back((r * 5 + k * 3) % 14 + 1);
        }
      }
      this->top_.clear();
      this->Tops(R);
      this->Draw(0, {frames, 14, 3}, -10, 70);
      for (int i = 0; i < this->bottom_[0]->count(); ++i) {
        this->bottom_[0]->mutable_cpu_data()[i] = std::floor(this->bottom_[0]->cpu_data()[i]);
      }
      for (const LayerParameter& param : {this->Param(parts), this->Param(parts, 0.2, 30, 50, 60)}) {
        PartBoxesLayer<Dtype> layer(param), on_cpu(param);
        this->ExpectMatchesCpu(&layer, &on_cpu, {true});
        this->ExpectMatchesCpu(&layer, &on_cpu, {false});
      }
    }
  }
}

TYPED_TEST(PartBoxesLayerTest, TestJointsThatAreNoNumbers) {
  typedef typename TypeParam::Dtype Dtype;
  this->Tops(1);
  PartBoxesLayer<Dtype> layer(this->Param({{1, 2}}, 0, 5, 20, 20));
  for (double wrong : {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
    // Not of a joint that no part has, nor a confidence.
    this->Set(0, {1, 3, 3}, {1, 2, wrong, 9, 10, 1, wrong, wrong, 1});
    this->Run(&layer);
    this->ExpectNear({0, 1, 2, 9, 10}, this->Top());
    this->Set(0, {1, 3, 3}, {1, 2, 1, 9, wrong, 1, 5, 5, 1});
    EXPECT_REFUSED(layer.Forward(this->bottom_, this->top_), "joint 2 has coordinate ");
    if (TypeParam::device == Caffe::GPU) {  // Joints that lie there are not read back: they make NaN.
      this->bottom_[0]->mutable_gpu_data();
      layer.Forward(this->bottom_, this->top_);
      for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(i == 2 || i == 4, std::isnan(this->Top()[i])) << "value " << i;
      }
    }
  }
}

}  // namespace caffe
