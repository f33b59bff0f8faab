#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/pose_input_layer.hpp"

#include "caffe/test/test_caffe_main.hpp"
#include "caffe/test/test_layer_util.hpp"

namespace caffe {

template <typename TypeParam>
class PoseInputLayerTest : public LayerTest<TypeParam> {
 protected:
  PoseInputLayerTest() {
    this->Draw(0, {2, 3, 3, 4}, -1, 1);
    this->Tops(1);
  }

  static LayerParameter Param(int h, int w, double aspect, const vector<double>& mean = {}, double scale = 1,
      double fill = 128, double sigma = 2) {
    LayerParameter param;
    PoseInputParameter* input = param.mutable_pose_input_param();
    input->set_new_height(h);
    input->set_new_width(w);
    input->set_aspect(aspect);
    for (double value : mean) {
      input->add_mean_value(value);
    }
    input->set_scale(scale);
    input->set_fill(fill);
    input->set_sigma(sigma);
    return param;
  }

  /// Plane c of frame f in pixel values, read at (u, v) in 0 .. 1 of its width and height: each pixel by the
  /// product of two tents about its centre.
  double Pixel(int f, int c, double u, double v, double mean, double scale) const {
    const Blob<typename TypeParam::Dtype>& frames = *this->bottom_[0];
    const int H = frames.height(), W = frames.width();
    const double x = std::min(std::max(u * W, 0.5), W - 0.5), y = std::min(std::max(v * H, 0.5), H - 0.5);
    double value = 0;
    for (int row = 0; row < H; ++row) {
      for (int column = 0; column < W; ++column) {
        value += std::max(0., 1 - std::fabs(y - row - 0.5)) * std::max(0., 1 - std::fabs(x - column - 0.5)) *
            (frames.data_at(f, c, row, column) / scale + mean);
      }
    }
    return value;
  }
};

TYPED_TEST_CASE(PoseInputLayerTest, TestDtypesAndDevices);

TYPED_TEST(PoseInputLayerTest, TestForward) {
  typedef typename TypeParam::Dtype Dtype;
  // Narrower and wider than the top, larger and smaller than the bottom, padded by whole and by broken pixels;
  // in the last three the frame fills the top.
  const struct {
    int h, w;
    double aspect;
    vector<double> mean;
    double scale;
  } cases[] = {{8, 8, 0.5, {104, 117, 123}, 0.01}, {8, 8, 2, {104, 117, 123}, -0.02}, {9, 7, 0.3, {100}, 0.01},
      {5, 9, 4, {}, 0.01}, {2, 2, 0.6, {90}, 0.02}, {6, 4, 0.666, {128}, 0.01}, {4, 8, 2, {128}, 0.01},
      {3, 4, 0.75 * 16 / 9, {1, 2, 3}, 1}};
  for (const auto& one : cases) {
    const double fill = 70, sigma = 1.5;
    PoseInputLayer<Dtype> layer(this->Param(one.h, one.w, one.aspect, one.mean, one.scale, fill, sigma));
    this->Run(&layer);
    // The box's sides as parts of the top's, which are 1 : w / h.
    const double relative = one.aspect * one.h / one.w;
    const double part_w = std::min(relative, 1.), part_h = std::min(1 / relative, 1.);
    vector<double> expected;
    for (int f = 0; f < 2; ++f) {
      for (int c = 0; c < 4; ++c) {
        for (int i = 0; i < one.h * one.w; ++i) {
          const int x = i % one.w, y = i / one.w;
          const double u = ((x + 0.5) / one.w - 0.5) / part_w + 0.5;
          const double v = ((y + 0.5) / one.h - 0.5) / part_h + 0.5;
          const bool inside = u >= 0 && u < 1 && v >= 0 && v < 1;
          const double mean = one.mean.empty() ? 0 : one.mean.size() == 1 ? one.mean[0] : one.mean[c % 3];
          const double square = std::pow(x - one.w / 2., 2) + std::pow(y - one.h / 2., 2);
          expected.push_back(c == 3 ? std::exp(-square / (2 * sigma * sigma)) :
              (inside ? this->Pixel(f, c, u, v, mean, one.scale) : fill) / 256 - 0.5);
        }
      }
    }
    EXPECT_EQ((vector<int>{2, 4, one.h, one.w}), this->top_[0]->shape());
    this->ExpectNear(expected, this->Top());
  }
}

TYPED_TEST(PoseInputLayerTest, TestHandWorked) {
  typedef typename TypeParam::Dtype Dtype;
  // In a top of 4 x 4, a frame of 1 : 2 is columns 1 and 2: those of the bottom. Its rows are read at -1/4
  // (moved to 0), 1/4, 3/4 and 5/4 (moved to 1). The means 64, 0, 128 and the scale 1/2 are taken back:
  // blue is 0 64 / 128 192, green 0 -64 / -128 -192 and red 128; the padding is 256.
  this->Set(0, {1, 3, 2, 2}, {-32, 0, 32, 64, 0, -32, -64, -96, 0, 0, 0, 0});
  PoseInputLayer<Dtype> layer(this->Param(4, 4, 0.5, {64, 0, 128}, 0.5, 256, 2));
  this->Run(&layer);
  const double a = -0.5, b = -0.375, c = -0.25, d = -0.125, f = 0.5;
  vector<double> expected = {f, a, c, f, f, b, d, f, f, d, 0.125, f, f, 0, 0.25, f,
                             f, a, -0.75, f, f, -0.625, -0.875, f, f, -0.875, -1.125, f, f, -1, -1.25, f,
                             f, 0, 0, f, f, 0, 0, f, f, 0, 0, f, f, 0, 0, f};
  for (int i = 0; i < 16; ++i) {  // the peak is at (2, 2); 2 sigma^2 = 8
    expected.push_back(std::exp(-((i % 4 - 2) * (i % 4 - 2) + (i / 4 - 2) * (i / 4 - 2)) / 8.));
  }
  this->ExpectNear(expected, this->Top(), 1e-6);
  // A gradient of 128 is 1 in the bottom, as 256 scale is 128. That of the padding and of the centre map is
  // lost.
  vector<double> diff(64, 640);
  for (int i = 0; i < 48; ++i) {
    diff[i] = i % 4 == 1 ? 128 : i % 4 == 2 ? 256 * (1 + i / 16) : 640;
  }
  diff[13] = 0;
  this->Backward(&layer, {true}, diff);
  // Column 1 of blue has 1, 1, 1, 0: 1 + 3/4 + 1/4 for the upper row, 1/4 + 3/4 for the lower.
  this->ExpectNear({2, 4, 1, 4, 2, 8, 2, 8, 2, 12, 2, 12}, this->Diff(0));
  this->Backward(&layer, {false});
  EXPECT_EQ(vector<double>(12, 7), this->Diff(0));
}

TYPED_TEST(PoseInputLayerTest, TestDefaults) {
  typedef typename TypeParam::Dtype Dtype;
  // SpindleNet's: 256 x 256, grey 128 beside the middle 128 columns, the centre map's peak at (128, 128).
  this->Set(0, {1, 3, 1, 1}, {0, 64, 255});
  PoseInputLayer<Dtype> layer((LayerParameter()));
  this->Run(&layer);
  ASSERT_EQ((vector<int>{1, 4, 256, 256}), this->top_[0]->shape());
  const Blob<Dtype>& top = *this->top_[0];
  const double frame[] = {-0.5, -0.25, 0.49609375};
  for (int i = 0; i < 256 * 256; ++i) {
    const int x = i % 256, y = i / 256;
    for (int c = 0; c < 3; ++c) {
      ASSERT_EQ(x >= 64 && x < 192 ? frame[c] : 0, top.data_at(0, c, y, x)) << "x " << x << ", y " << y;
    }
    ASSERT_EQ(x == 128 && y == 128, top.data_at(0, 3, y, x) == 1) << "x " << x << ", y " << y;
  }
  EXPECT_NEAR(std::exp(-0.5), top.data_at(0, 3, 128, 149), 1e-6);
  EXPECT_NEAR(std::exp(-0.5), top.data_at(0, 3, 107, 128), 1e-6);
}

// Half of the gradients that are not 0 are above 0.3, or 0.1 of the squares: threshold 0.0005. The mean and
// the fill are 128, so that what the bottom does not move is 0 in the squares.
TYPED_TEST(PoseInputLayerTest, TestGradient) {
  typedef typename TypeParam::Dtype Dtype;
  this->Draw(0, {2, 3, 3, 2}, -1, 1);
  const LayerParameter params[] = {this->Param(4, 4, 0.5, {128}, 0.01, 128, 0.3),
      this->Param(5, 4, 1.5, {128}, 0.01, 128, 0.3), this->Param(2, 2, 0.6, {128}, -0.004, 128, 0.3)};
  for (const LayerParameter& param : params) {
    PoseInputLayer<Dtype> layer(param);
    this->CheckGradient(&layer, 0, 5e-4);
  }
}

TYPED_TEST(PoseInputLayerTest, TestAccumulation) {
  typedef typename TypeParam::Dtype Dtype;
  PoseInputLayer<Dtype> layer(this->Param(8, 8, 0.5, {}, 0.01));
  this->ExpectAccumulation(&layer, {true});
}

TYPED_TEST(PoseInputLayerTest, TestReshape) {
  typedef typename TypeParam::Dtype Dtype;
  const LayerParameter param = this->Param(7, 5, 0.5, {1, 2, 3}, 0.01);
  PoseInputLayer<Dtype> layer(param), fresh(param);
  this->ExpectReshape(&layer, &fresh, {true}, [this] { this->Draw(0, {2, 3, 3, 4}, -1, 1); },
      [this] { this->Draw(0, {3, 3, 9, 2}, -1, 1); });
}

TYPED_TEST(PoseInputLayerTest, TestRefusals) {
  typedef typename TypeParam::Dtype Dtype;
  PoseInputLayer<Dtype> height(this->Param(0, 8, 0.5)), width(this->Param(8, 0, 0.5)),
      aspect(this->Param(8, 8, 0)), negative(this->Param(8, 8, -0.5)), sigma(this->Param(8, 8, 0.5, {}, 1, 128, 0)),
      scale(this->Param(8, 8, 0.5, {}, 0)), means(this->Param(8, 8, 0.5, {1, 2})),
      four(this->Param(8, 8, 0.5, {1, 2, 3, 4})), layer(this->Param(8, 8, 0.5));
  EXPECT_REFUSED(height.SetUp(this->bottom_, this->top_), "new_height and new_width must be at least 1");
  EXPECT_REFUSED(width.SetUp(this->bottom_, this->top_), "new_height and new_width must be at least 1");
  EXPECT_REFUSED(aspect.SetUp(this->bottom_, this->top_), "aspect and sigma must be above 0");
  EXPECT_REFUSED(negative.SetUp(this->bottom_, this->top_), "aspect and sigma must be above 0");
  EXPECT_REFUSED(sigma.SetUp(this->bottom_, this->top_), "aspect and sigma must be above 0");
  EXPECT_REFUSED(scale.SetUp(this->bottom_, this->top_), "scale must not be 0");
  EXPECT_REFUSED(means.SetUp(this->bottom_, this->top_), "give no mean_value, one, or three (B, G, R), not 2");
  EXPECT_REFUSED(four.SetUp(this->bottom_, this->top_), "give no mean_value, one, or three (B, G, R), not 4");
  for (const vector<int>& shape : {vector<int>{2, 1, 4, 3}, vector<int>{2, 3, 4}, vector<int>{2, 3, 0, 4}}) {
    this->Draw(0, shape, 0, 1);
    EXPECT_REFUSED(layer.SetUp(this->bottom_, this->top_), "the frames must be F x 3 x H x W, not 2 ");
  }
}

TYPED_TEST(PoseInputLayerTest, TestDegenerate) {
  typedef typename TypeParam::Dtype Dtype;
  // A bottom of one pixel, in a box two rows high: that pixel in both rows.
  this->Set(0, {1, 3, 1, 1}, {64, 128, 192});
  PoseInputLayer<Dtype> wide(this->Param(4, 4, 2));
  this->Run(&wide);
  const vector<double> top = this->Top();
  for (int i = 0; i < 48; ++i) {
    const bool inside = i / 4 % 4 == 1 || i / 4 % 4 == 2;
    EXPECT_EQ(inside ? -0.25 + 0.25 * (i / 16) : 0, top[i]) << "value " << i;
  }
  this->Backward(&wide, {true}, vector<double>(64, 32));
  this->ExpectNear({1, 1, 1}, this->Diff(0));
  // A box from the middle of column 1 to that of column 2: the left edge belongs to it, the right one does not.
  PoseInputLayer<Dtype> edges(this->Param(4, 4, 0.25));
  this->Run(&edges);
  for (int x = 0; x < 4; ++x) {
    EXPECT_EQ(x == 1 ? -0.25 : 0, this->top_[0]->data_at(0, 0, 3, x)) << "column " << x;
  }
  // The same of rows, and a box so thin that it has no pixel's centre: padding alone, and no gradient.
  PoseInputLayer<Dtype> flat(this->Param(4, 4, 4)), thin(this->Param(4, 4, 0.1));
  this->Run(&flat);
  for (int y = 0; y < 4; ++y) {
    EXPECT_EQ(y == 1 ? -0.25 : 0, this->top_[0]->data_at(0, 0, y, 3)) << "row " << y;
  }
  this->Run(&thin);
  EXPECT_EQ(vector<double>(48, 0), vector<double>(this->top_[0]->cpu_data(), this->top_[0]->cpu_data() + 48));
  this->Backward(&thin, {true}, vector<double>(64, 32));
  this->ExpectNear({0, 0, 0}, this->Diff(0), 0);
  // One pixel of top.
  PoseInputLayer<Dtype> one(this->Param(1, 1, 1));
  this->Run(&one);
  this->ExpectNear({-0.25, 0, 0.25, std::exp(-0.0625)}, this->Top());
  this->Backward(&one, {true}, {256, 512, 768, 9});
  this->ExpectNear({1, 2, 3}, this->Diff(0));
}

TYPED_TEST(PoseInputLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  // Enlarged, shrunk so far that most of the bottom is not read, a bottom of one row, column, and pixel.
  for (const vector<int>& bottom : vector<vector<int> >{{3, 3, 13, 7}, {2, 3, 61, 40}, {1, 3, 1, 5}, {1, 3, 5, 1},
      {1, 3, 1, 1}}) {
    this->Draw(0, bottom, -100, 155);
    for (const LayerParameter& param : {this->Param(33, 35, 0.5, {104, 117, 123}), this->Param(5, 9, 3, {}, -0.5, 0),
        this->Param(1, 1, 1), this->Param(7, 4, 0.05)}) {
      PoseInputLayer<Dtype> layer(param), on_cpu(param);
      this->ExpectMatchesCpu(&layer, &on_cpu, {true});
      this->ExpectMatchesCpu(&layer, &on_cpu, {false});
    }
  }
}

}  // namespace caffe
