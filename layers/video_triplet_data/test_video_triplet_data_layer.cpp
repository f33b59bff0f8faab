#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/layers/video_triplet_data_layer.hpp"
#include "caffe/util/io.hpp"

#include "caffe/test/test_caffe_main.hpp"

namespace caffe {

/// tests/test_video_triplet_data.py says what batches hold; here, that they come to both devices.
template <typename TypeParam>
class VideoTripletDataLayerTest : public MultiDeviceTest<TypeParam> {
 protected:
  typedef typename TypeParam::Dtype Dtype;
  static const int kFrames = 4, kTracklets = 6;

  /// Three persons, each in two cameras, in tracklets of four frames of noise. A joint's confidence is the frame's row.
  VideoTripletDataLayerTest() : top_{&data_, &label_, &joints_} {
    MakeTempDir(&folder_);
    folder_ += "/";
    std::ofstream list(folder_ + "list.csv");
    list << "tracklet,pid,camid,query,frames\n";
    for (int tracklet = 0; tracklet < kTracklets; ++tracklet) {
      list << "t" << tracklet << "," << 10 * (tracklet / 2) << "," << tracklet % 2 << ",0,";
      for (int t = 0; t < kFrames; ++t) {
        list << (t > 0 ? ";" : "") << tracklet * kFrames + t << ".png";
      }
      list << "\n";
    }
    const int rows = kTracklets * kFrames;
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", 14, 3), }\n";
    std::vector<float> joints;
    for (int i = 0; i < rows * 14 * 3; ++i) {
      joints.push_back(i % 3 == 2 ? i / 42 : Noise() / 16.f);
    }
    std::ofstream npy(folder_ + "joints.npy", std::ios::binary);
    npy << "\x93NUMPY" << '\x01' << '\0' << static_cast<char>(header.size()) << '\0' << header;
    npy.write(reinterpret_cast<const char*>(joints.data()), joints.size() * sizeof(float));
  }

  virtual ~VideoTripletDataLayerTest() { boost::filesystem::remove_all(folder_); }

  /// Writes the frames, noise of this size.
  void WriteFrames(int height, int width) {
    for (int row = 0; row < kTracklets * kFrames; ++row) {
      images_.push_back(cv::Mat(height, width, CV_8UC3));
      for (int i = 0; i < height * width * 3; ++i) {
        images_.back().data[i] = Noise();
      }
      cv::imwrite(folder_ + std::to_string(row) + ".png", images_.back());
    }
  }

  /// Videos of 2 frames of 11 x 7 pixels, 2 of each of 3 persons. Two threads read ahead.
  LayerParameter Param(int prefetch) const {
    LayerParameter param;
    VideoTripletDataParameter* data = param.mutable_video_triplet_data_param();
    data->set_source(folder_ + "list.csv");
    data->set_root_folder(folder_);
    data->set_joints(folder_ + "joints.npy");
    data->set_frames(2);
    data->set_new_height(11);
    data->set_new_width(7);
    for (float mean : {104.3f, 117.1f, 123.7f}) {
      data->add_mean_value(mean);
    }
    data->set_scale(0.0171f);
    data->set_batch_identities(3);
    data->set_prefetch(prefetch);
    return param;
  }

  /// The three tops of one Forward, one behind the other, as kernels would read them.
  vector<Dtype> Batch(VideoTripletDataLayer<Dtype>* layer) {
    layer->Forward({}, top_);
    vector<Dtype> batch;
    for (Blob<Dtype>* top : top_) {
      Blob<Dtype> copy;
      copy.CopyFrom(*top, false, true);  // on the device of the mode
      batch.insert(batch.end(), copy.cpu_data(), copy.cpu_data() + copy.count());
    }
    return batch;
  }

  int Noise() { return random_() % 256; }

  std::mt19937 random_;
  std::string folder_;
  vector<cv::Mat> images_;
  Blob<Dtype> data_, label_, joints_;
  const vector<Blob<Dtype>*> top_;
};

TYPED_TEST_CASE(VideoTripletDataLayerTest, TestDtypesAndDevices);

TYPED_TEST(VideoTripletDataLayerTest, TestFrames) {
  typedef typename TypeParam::Dtype Dtype;
  // Frames of the net's size come as they are.
  this->WriteFrames(11, 7);
  VideoTripletDataLayer<Dtype> layer(this->Param(3));
  layer.SetUp({}, this->top_);
  EXPECT_EQ((vector<int>{12, 3, 11, 7}), this->data_.shape());
  const float mean[] = {104.3f, 117.1f, 123.7f};
  for (int batch = 0; batch < 8; ++batch) {
    layer.Forward({}, this->top_);
    if (TypeParam::device == Caffe::GPU) {
      EXPECT_EQ(SyncedMemory::HEAD_AT_GPU, this->data_.data()->head());
      EXPECT_EQ(SyncedMemory::SYNCED, this->label_.data()->head());
      EXPECT_EQ(SyncedMemory::SYNCED, this->joints_.data()->head());
    }
    for (int f = 0; f < 12; ++f) {
      const int row = this->joints_.cpu_data()[f * 42 + 2];
      EXPECT_EQ(row / 8, this->label_.cpu_data()[f / 2]);
      for (int i = 0; i < 3 * 77; ++i) {
        const Dtype pixel = this->images_[row].data[i % 77 * 3 + i / 77];
        ASSERT_EQ((pixel - Dtype(mean[i / 77])) * Dtype(0.0171f), this->data_.cpu_data()[f * 231 + i]);
      }
    }
  }
}

TYPED_TEST(VideoTripletDataLayerTest, TestMatchesCpu) {
  typedef typename TypeParam::Dtype Dtype;
  // To the bit, squashed, with fewer and more batches read ahead than threads.
  this->WriteFrames(23, 10);
  vector<vector<Dtype> > expected;
  Caffe::set_mode(Caffe::CPU);
  VideoTripletDataLayer<Dtype> on_cpu(this->Param(4));
  on_cpu.SetUp({}, this->top_);
  for (int batch = 0; batch < 9; ++batch) {
    expected.push_back(this->Batch(&on_cpu));
  }
  EXPECT_NE(expected[0], expected[1]);
  Caffe::set_mode(TypeParam::device);
  for (int prefetch : {1, 5}) {
    VideoTripletDataLayer<Dtype> layer(this->Param(prefetch));
    layer.SetUp({}, this->top_);
    for (int batch = 0; batch < 9; ++batch) {
      EXPECT_EQ(expected[batch], this->Batch(&layer)) << "batch " << batch;
    }
  }
}

TYPED_TEST(VideoTripletDataLayerTest, TestChangeOfMode) {
  typedef typename TypeParam::Dtype Dtype;
  // A net may be run on either device in turn: no batch is lost or read twice.
  this->WriteFrames(11, 7);
  VideoTripletDataLayer<Dtype> layer(this->Param(2)), fresh(this->Param(2));
  layer.SetUp({}, this->top_);
  vector<vector<Dtype> > batches;
  for (int batch = 0; batch < 6; ++batch) {
    Caffe::set_mode(batch / 2 == 1 ? Caffe::CPU : TypeParam::device);
    batches.push_back(this->Batch(&layer));
  }
  fresh.SetUp({}, this->top_);
  for (int batch = 0; batch < 6; ++batch) {
    EXPECT_EQ(this->Batch(&fresh), batches[batch]) << "batch " << batch;
  }
}

TYPED_TEST(VideoTripletDataLayerTest, TestMissingFrame) {
  typedef typename TypeParam::Dtype Dtype;
  // One that goes while the net runs is named by Forward.
  this->WriteFrames(11, 7);
  VideoTripletDataLayer<Dtype> layer(this->Param(1));
  layer.SetUp({}, this->top_);
  for (int row = 0; row < 24; ++row) {
    std::ofstream(this->folder_ + std::to_string(row) + ".png");
  }
  try {
    layer.Forward({}, this->top_);
    ADD_FAILURE() << "accepted";
  } catch (const std::invalid_argument& refusal) {
    EXPECT_NE(std::string::npos, std::string(refusal.what()).find(".png is no readable image")) << refusal.what();
  }
}

}  // namespace caffe
