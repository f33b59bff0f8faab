#include <unistd.h>

#include <algorithm>
#include <opencv2/imgproc.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "caffe/layers/video_triplet_data_layer.hpp"
#include "caffe/util/frame_reader.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const VideoTripletDataParameter& param = this->layer_param_.video_triplet_data_param();
  LAYER_REQUIRE(param.frames() > 0 && param.new_height() > 0 && param.new_width() > 0 && param.prefetch() > 0 &&
      param.threads() > 0) << "frames, new_height, new_width, prefetch and threads must be at least 1";
  LAYER_REQUIRE(param.mean_value_size() == 0 || param.mean_value_size() == 1 || param.mean_value_size() == 3)
      << "give no mean_value, one, or three (B, G, R), not " << param.mean_value_size();
  for (int c = 0; c < 3; ++c) {
    mean_.push_back(param.mean_value_size() == 0 ? 0 : param.mean_value(c % param.mean_value_size()));
  }
  LAYER_REQUIRE(top.size() < 3 || param.has_joints()) << "the third top needs a joints file; data_prep/ writes one";
  try {
    tracklets_ = ReadTrackletList(param.source());
    const Tracklet& last = tracklets_.back();
    if (top.size() == 3) {
      joint_values_ = ReadJoints(param.joints(), last.first_frame + last.frames.size());
    }
  } catch (const std::runtime_error& error) {
    LAYER_REQUIRE(false) << error.what();
  }
  for (const Tracklet& tracklet : tracklets_) {
    for (const std::string& frame : tracklet.frames) {
      LAYER_REQUIRE(access((param.root_folder() + frame).c_str(), R_OK) == 0) << "cannot read the image "
          << param.root_folder() + frame << " of " << param.source() << ": restore it or prepare the list anew";
    }
  }
  sampler_.reset(new BatchSampler(tracklets_, param.frames(), param.seed()));
  const int persons = sampler_->persons();
  LAYER_REQUIRE(param.identities() == 0 || param.identities() == persons) << param.source() << " has " << persons
      << " identities, but the net is made for " << param.identities()
      << ": prepare that split, or write the net anew with python -m prototxt.generate --identities " << persons;
  const int wanted = param.batch_identities() > 0 ? param.batch_identities() : 2;
  LAYER_REQUIRE(persons >= wanted) << param.source() << " has " << persons << " identities, but a batch needs "
      << wanted;
  LAYER_REQUIRE(param.batch_identities() == 0 || param.videos() > 0) << "videos must be at least 1";
  const int V = param.batch_identities() > 0 ? param.batch_identities() * param.videos() : 3;
  const int F = V * param.frames();
  top[0]->Reshape(F, 3, param.new_height(), param.new_width());
  top[1]->Reshape(vector<int>(1, V));
  if (top.size() == 3) {
    const int shape[] = {F, kJoints, 3};
    top[2]->Reshape(vector<int>(shape, shape + 3));
  }
  data_count_ = top[0]->count();
  solver_count_ = Caffe::solver_count();
  solver_rank_ = Caffe::solver_rank();
  slots_.resize(param.prefetch());
  for (Slot& slot : slots_) {
    slot.label.resize(V);
    slot.joints.resize(top.size() == 3 ? top[2]->count() : 0);
  }
  LOG(INFO) << param.source() << ": " << tracklets_.size() << " tracklets of " << persons << " identities";
}

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::SeekForward(int forward) {
  Stop();
  forward_ = forward;
}

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::Start() {
  to_fill_ = forward_;
  stopping_ = false;
  gpu_ = Caffe::mode() == Caffe::GPU;
  for (Slot& slot : slots_) {
    slot.ready = false;
    slot.data.resize(gpu_ ? 0 : data_count_);
  }
  if (gpu_) {
    StartGpu();
  }
  for (int i = 0; i < this->layer_param_.video_triplet_data_param().threads(); ++i) {
    threads_.push_back(std::thread(&VideoTripletDataLayer::Work, this));
  }
}

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
  threads_.clear();
  if (gpu_) {
    StopGpu();
    gpu_ = false;
  }
}

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::Work() {
#ifndef CPU_ONLY
  if (gpu_) {
    CUDA_CHECK(cudaSetDevice(device_));
  }
#endif
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || to_fill_ < forward_ + static_cast<int>(slots_.size()); });
    if (stopping_) {
      return;
    }
    const int forward = to_fill_++;
    Slot* slot = &slots_[forward % slots_.size()];
    lock.unlock();
    slot->error.clear();
    try {
      Fill(forward, slot);
      if (gpu_) {
        Push(slot);
      }
    } catch (const std::exception& error) {
      slot->error = error.what();
    }
    lock.lock();
    slot->ready = true;
    changed_.notify_all();
  }
}

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::Fill(int forward, Slot* slot) const {
  const VideoTripletDataParameter& param = this->layer_param_.video_triplet_data_param();
  const uint64_t batch = static_cast<uint64_t>(forward) * solver_count_ + solver_rank_;
  const vector<SampledVideo> videos = param.batch_identities() > 0 ?
      sampler_->Identities(batch, param.batch_identities(), param.videos()) : sampler_->Triplet(batch);
  const int H = param.new_height(), W = param.new_width();
  uchar* pixels = gpu_ ? static_cast<uchar*>(slot->pixels->mutable_cpu_data()) : NULL;
  int row = 0;
  for (int v = 0; v < videos.size(); ++v) {
    const Tracklet& tracklet = tracklets_[videos[v].tracklet];
    slot->label[v] = videos[v].label;
    for (int frame : videos[v].frames) {
      const cv::Mat image = ReadFrame(param.root_folder() + tracklet.frames[frame]);
      const size_t first = static_cast<size_t>(row) * 3 * H * W;
      cv::Mat squashed = gpu_ ? cv::Mat(H, W, CV_8UC3, pixels + first) : cv::Mat();  // resize writes into what has the size
      cv::resize(image, squashed, cv::Size(W, H), 0, 0, cv::INTER_LINEAR);
      for (int y = 0; !gpu_ && y < H; ++y) {
        const uchar* pixel = squashed.ptr<uchar>(y);
        Dtype* planes = slot->data.data() + first;
        for (int x = 0; x < W; ++x) {
          for (int c = 0; c < 3; ++c) {
            planes[(c * H + y) * W + x] = (pixel[x * 3 + c] - mean_[c]) * param.scale();
          }
        }
      }
      // Pixel centres lie at halves, for the joints as for cv::resize.
      const Dtype scale_x = Dtype(W) / image.cols, scale_y = Dtype(H) / image.rows;
      for (int j = 0; !slot->joints.empty() && j < kJoints; ++j) {
        const float* joint = joint_values_.data() + (static_cast<size_t>(tracklet.first_frame + frame) * kJoints + j) * 3;
        Dtype* scaled = slot->joints.data() + (static_cast<size_t>(row) * kJoints + j) * 3;
        scaled[0] = (joint[0] + Dtype(0.5)) * scale_x - Dtype(0.5);
        scaled[1] = (joint[1] + Dtype(0.5)) * scale_y - Dtype(0.5);
        scaled[2] = joint[2];
      }
      ++row;
    }
  }
}

template <typename Dtype>
typename VideoTripletDataLayer<Dtype>::Slot* VideoTripletDataLayer<Dtype>::Await() {
  if (!threads_.empty() && gpu_ != (Caffe::mode() == Caffe::GPU)) {
    Stop();
  }
  if (threads_.empty()) {
    Start();
  }
  Slot* slot = &slots_[forward_ % slots_.size()];
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [slot] { return slot->ready; });
  }
  LAYER_REQUIRE(slot->error.empty()) << slot->error;
  return slot;
}

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::Release(Slot* slot) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    slot->ready = false;
    ++forward_;
  }
  changed_.notify_all();
}

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  Slot* slot = Await();
  std::copy(slot->data.begin(), slot->data.end(), top[0]->mutable_cpu_data());
  std::copy(slot->label.begin(), slot->label.end(), top[1]->mutable_cpu_data());
  if (top.size() == 3) {
    std::copy(slot->joints.begin(), slot->joints.end(), top[2]->mutable_cpu_data());
  }
  Release(slot);
}

#ifdef CPU_ONLY

STUB_GPU_FORWARD(VideoTripletDataLayer, Forward);

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::StartGpu() { NO_GPU; }

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::StopGpu() { NO_GPU; }

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::Push(Slot* slot) { NO_GPU; }

#else

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::StartGpu() {
  CUDA_CHECK(cudaGetDevice(&device_));
  CUDA_CHECK(cudaStreamCreateWithFlags(&copying_, cudaStreamNonBlocking));
  CUDA_CHECK(cudaEventCreateWithFlags(&taken_, cudaEventDisableTiming | cudaEventBlockingSync));
  for (Slot& slot : slots_) {
    // Pinned, as this thread's mode is GPU. Threads that allocated would need a mode and with it cuBLAS handles each.
    slot.pixels.reset(new SyncedMemory(data_count_));
    slot.pixels->mutable_cpu_data();
    slot.pixels->gpu_data();
  }
}

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::StopGpu() {
  cudaStreamDestroy(copying_);  // unchecked: at the end of a process the driver may be gone
  cudaEventDestroy(taken_);
  for (Slot& slot : slots_) {
    slot.pixels.reset();
  }
}

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::Push(Slot* slot) {
  CUDA_CHECK(cudaEventSynchronize(taken_));  // a Forward may still be reading what this overwrites
  slot->pixels->async_gpu_push(copying_);
  CUDA_CHECK(cudaStreamSynchronize(copying_));
}

#endif  // CPU_ONLY

INSTANTIATE_CLASS(VideoTripletDataLayer);
REGISTER_LAYER_CLASS(VideoTripletData);

}  // namespace caffe
