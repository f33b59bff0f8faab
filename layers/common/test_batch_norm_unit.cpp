// A net that computes BatchNorm, Scale and ReLU in one pass ends with the blobs of one that runs them one by one.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "google/protobuf/text_format.h"

#include "gtest/gtest.h"

#include "caffe/filler.hpp"
#include "caffe/net.hpp"
#include "caffe/util/batch_norm_unit.hpp"

#include "caffe/test/test_caffe_main.hpp"

namespace caffe {

template <typename Dtype>
class Recorder : public Net<Dtype>::Callback {
 public:
  vector<int> layers;

 protected:
  void run(int layer) { layers.push_back(layer); }
};

template <typename TypeParam>
class BatchNormUnitTest : public MultiDeviceTest<TypeParam> {
 protected:
  typedef typename TypeParam::Dtype Dtype;
  enum { DATA, TARGET, BEFORE, NORM, SCALE, RELU, LOSS, LAYERS };

  /// What is asked of the three layers beside what makes them a unit.
  struct Text {
    string norm, scale = "bias_term: true", relu, shape = "dim: 4 dim: 3 dim: 5 dim: 3", norm_top = "x", scale_top = "y",
        relu_top = "y", loss_bottom = "y", phase = "TRAIN";
  };

  static shared_ptr<Net<Dtype> > Make(const Text& text) {
    const string input = " type: 'Input' input_param { shape { " + text.shape + " } } } ";
    NetParameter param;
    CHECK(google::protobuf::TextFormat::ParseFromString("force_backward: true state { phase: " + text.phase + " } "
        "layer { name: 'data' top: 'data'" + input + "layer { name: 'target' top: 'target'" + input +
        "layer { name: 'before' type: 'Power' bottom: 'data' top: 'x' power_param { scale: 3 shift: 1 } } "
        "layer { name: 'norm' type: 'BatchNorm' bottom: 'x' top: '" + text.norm_top + "' " + text.norm + " } "
        "layer { name: 'scale' type: 'Scale' bottom: '" + text.norm_top + "' top: '" + text.scale_top + "' scale_param { "
        "  filler { type: 'gaussian' mean: 0.5 } bias_filler { type: 'gaussian' std: 0.5 } " + text.scale + " } } "
        "layer { name: 'relu' type: 'ReLU' bottom: '" + text.scale_top + "' top: '" + text.relu_top + "' " + text.relu +
        " } "
        "layer { name: 'loss' type: 'EuclideanLoss' bottom: '" + text.loss_bottom +
        "' bottom: 'target' top: 'loss' loss_weight: 50 }", &param));
    return shared_ptr<Net<Dtype> >(new Net<Dtype>(param));
  }

  static BatchNormUnit<Dtype>* Find(const Net<Dtype>& net) {
    return BatchNormUnit<Dtype>::Find(&net.layers()[NORM], &net.bottom_vecs()[NORM], &net.top_vecs()[NORM]);
  }
  /// Whether the layers of this text are a unit; the net ends the same either way.
  static void ExpectFound(bool found, const Text& text) {
    SCOPED_TRACE(text.norm_top + text.scale_top + text.relu_top + text.scale + text.relu);
    shared_ptr<BatchNormUnit<Dtype> > unit(Find(*Make(text)));
    EXPECT_EQ(found, unit.get() != NULL);
    ExpectOnePass(text);
  }

  /// An iteration on inputs that depend on `seed`; `forward` and `backward` are where the net is cut into parts, each run
  /// by a call of its own, in rising order.
  static void Run(int seed, const vector<int>& forward, const vector<int>& backward, Net<Dtype>* net) {
    Caffe::set_random_seed(seed);
    FillerParameter wide;
    wide.set_type("gaussian");
    wide.set_mean(0.3);
    shared_ptr<Filler<Dtype> > filler(GetFiller<Dtype>(wide));
    for (Blob<Dtype>* input : net->input_blobs()) {
      vector<int> shape = input->shape();
      shape[0] += seed == 3;
      input->Reshape(shape);
      filler->Fill(input);
    }
    if (seed != 2) {  // as iter_size: 2 adds gradients
      net->ClearParamDiffs();
    }
    int first = 0;
    for (int next : forward) {
      net->ForwardFromTo(first, next - 1);
      first = next;
    }
    net->ForwardFromTo(first, net->layers().size() - 1);
    int last = net->layers().size() - 1;
    for (int i = backward.size() - 1; i >= 0; --i) {
      net->BackwardFromTo(last, backward[i]);
      last = backward[i] - 1;
    }
    net->BackwardFromTo(last, 0);
  }

  static void ExpectNear(const Blob<Dtype>& expected, const Blob<Dtype>& blob, const string& name) {
    ASSERT_EQ(expected.shape(), blob.shape());
    const double tolerance = sizeof(Dtype) == 8 ? 1e-10 : 2e-5;
    for (int diff = 0; diff < 2; ++diff) {
      const Dtype* wanted = diff ? expected.cpu_diff() : expected.cpu_data();
      const Dtype* found = diff ? blob.cpu_diff() : blob.cpu_data();
      double most = 1, off = 0;
      for (int i = 0; i < expected.count(); ++i) {
        most = std::max<double>(most, std::abs(wanted[i]));
        off = std::max<double>(off, std::abs(wanted[i] - found[i]));
        ASSERT_FALSE(std::isnan(found[i])) << name;
      }
      EXPECT_LE(off, tolerance * most) << (diff ? "gradient of " : "") << name;
    }
  }
  static void ExpectSame(const Net<Dtype>& expected, const Net<Dtype>& net) {
    for (int b = 0; b < expected.blobs().size(); ++b) {
      ExpectNear(*expected.blobs()[b], *net.blobs()[b], "blob " + expected.blob_names()[b]);
    }
    for (int p = 0; p < expected.params().size(); ++p) {
      ExpectNear(*expected.params()[p], *net.params()[p], "parameter " + expected.param_display_names()[p]);
    }
  }

  /// Nets of this text end the same, in one pass and layer by layer, over three iterations and wherever the calls cut them.
  static void ExpectOnePass(const Text& text) {
    SCOPED_TRACE(text.norm + text.scale + text.relu + text.shape);
    const vector<int> whole, each{1, 2, 3, 4, 5, 6};
    for (const vector<vector<int> >& way : vector<vector<vector<int> > >{{whole, whole}, {whole, each}, {each, whole},
        {whole, {SCALE}}, {whole, {RELU}}, {{SCALE}, whole}, {{RELU}, {NORM, LOSS}}, {{NORM, LOSS}, {BEFORE}}}) {
      shared_ptr<Net<Dtype> > expected = Make(text), net = Make(text);
      NetParameter weights;
      expected->ToProto(&weights);
      net->CopyTrainedLayersFrom(weights);
      for (int seed = 1; seed <= 3; ++seed) {
        Run(seed, each, each, expected.get());
        Run(seed, way[0], way[1], net.get());
        ExpectSame(*expected, *net);
      }
    }
  }
};

TYPED_TEST_CASE(BatchNormUnitTest, TestDtypesAndDevices);

TYPED_TEST(BatchNormUnitTest, TestOfTheBatch) {
  typename TestFixture::Text text;
  this->ExpectFound(true, text);
  // Rows without maps, one value a channel, and maps that several blocks of the GPU share.
  for (const string& shape : {"dim: 7 dim: 5", "dim: 1 dim: 3 dim: 1 dim: 1", "dim: 5 dim: 2 dim: 57 dim: 61"}) {
    text.shape = shape;
    this->ExpectOnePass(text);
  }
}

TYPED_TEST(BatchNormUnitTest, TestOfTheMovingAverages) {
  typename TestFixture::Text text;
  text.norm = "batch_norm_param { use_global_stats: true }";
  this->ExpectFound(true, text);
  text.shape = "dim: 5 dim: 2 dim: 57 dim: 61";
  this->ExpectOnePass(text);
  text.norm = "";
  text.phase = "TEST";
  this->ExpectOnePass(text);
}

TYPED_TEST(BatchNormUnitTest, TestOfOtherLayers) {
  typename TestFixture::Text text, other;
  (other = text).norm_top = "n";
  this->ExpectFound(false, other);
  (other = text).scale_top = "x";
  other.relu_top = "x";
  other.loss_bottom = "x";
  this->ExpectFound(false, other);
  (other = text).relu_top = "z";
  other.loss_bottom = "z";
  this->ExpectFound(false, other);
  (other = text).scale = "bias_term: false";
  this->ExpectFound(false, other);
  (other = text).scale = "bias_term: true axis: 2";
  this->ExpectFound(false, other);
  (other = text).scale = "bias_term: true num_axes: 2";
  this->ExpectFound(false, other);
  (other = text).scale = "bias_term: true axis: -3";
  this->ExpectFound(true, other);
  (other = text).relu = "relu_param { negative_slope: 0.1 }";
  this->ExpectFound(false, other);
}

TYPED_TEST(BatchNormUnitTest, TestInPlace) {
  // Where the Scale overwrites the normalised values the gradients are the same.
  typename TestFixture::Text text, in_place;
  in_place.scale_top = "x";
  in_place.relu_top = "x";
  in_place.loss_bottom = "x";
  shared_ptr<Net<typename TypeParam::Dtype> > net = this->Make(text), other = this->Make(in_place);
  NetParameter weights;
  net->ToProto(&weights);
  other->CopyTrainedLayersFrom(weights);
  this->Run(1, {}, {}, net.get());
  this->Run(1, {}, {}, other.get());
  this->ExpectNear(*net->blob_by_name("data"), *other->blob_by_name("data"), "data");
  for (int p = 0; p < net->params().size(); ++p) {
    this->ExpectNear(*net->params()[p], *other->params()[p], net->param_display_names()[p]);
  }
}

TYPED_TEST(BatchNormUnitTest, TestForwardTo) {
  typedef typename TypeParam::Dtype Dtype;
  for (int last : {this->NORM, this->SCALE}) {
    shared_ptr<Net<Dtype> > net = this->Make(typename TestFixture::Text());
    this->Run(1, {}, {}, net.get());
    Blob<Dtype>* y = net->blob_by_name("y").get();
    caffe_set(y->count(), Dtype(-1000), y->mutable_cpu_data());
    net->ForwardTo(last);
    const Dtype least = *std::min_element(y->cpu_data(), y->cpu_data() + y->count());
    if (last == this->NORM) {
      EXPECT_EQ(-1000, least) << "the Scale ran too";
    } else {
      EXPECT_TRUE(least > -1000 && least < 0) << "the ReLU ran too: " << least;
    }
  }
}

TYPED_TEST(BatchNormUnitTest, TestOfFixedParameters) {
  typename TestFixture::Text text;
  shared_ptr<Net<typename TypeParam::Dtype> > net = this->Make(text);
  shared_ptr<BatchNormUnit<typename TypeParam::Dtype> > unit(this->Find(*net));
  const vector<vector<bool> > all(3, vector<bool>(1, true));
  EXPECT_TRUE(unit->LearnsAll(&all[0]));
  for (int i = 0; i < 3; ++i) {
    vector<vector<bool> > some = all;
    some[i][0] = false;
    EXPECT_FALSE(unit->LearnsAll(&some[0])) << i;
  }
  for (int p = 0; p < 2; ++p) {
    net->layers()[this->SCALE]->set_param_propagate_down(p, false);
    EXPECT_FALSE(unit->LearnsAll(&all[0])) << p;
    net->layers()[this->SCALE]->set_param_propagate_down(p, true);
  }
}

TYPED_TEST(BatchNormUnitTest, TestWhoLooksAtLayers) {
  typedef typename TypeParam::Dtype Dtype;
  const vector<int> none, rising{0, 1, 2, 3, 4, 5, 6}, falling{6, 5, 4, 3, 2, 1, 0};
  shared_ptr<Net<Dtype> > net = this->Make(typename TestFixture::Text());
  Recorder<Dtype> forward, after_forward, after_backward, backward;
  net->add_after_backward(&after_backward);
  this->Run(1, none, none, net.get());
  EXPECT_EQ(falling, after_backward.layers);
  net->add_after_forward(&after_forward);
  this->Run(1, none, none, net.get());
  EXPECT_EQ(rising, after_forward.layers);
  net->add_before_forward(&forward);
  net->add_before_backward(&backward);
  after_backward.layers.clear();
  this->Run(1, none, none, net.get());
  EXPECT_EQ(rising, forward.layers);
  EXPECT_EQ(falling, backward.layers);
  EXPECT_EQ(falling, after_backward.layers);
}

}  // namespace caffe
