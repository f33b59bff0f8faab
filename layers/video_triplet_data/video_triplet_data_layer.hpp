#ifndef CAFFE_VIDEO_TRIPLET_DATA_LAYER_HPP_
#define CAFFE_VIDEO_TRIPLET_DATA_LAYER_HPP_

#include <condition_variable>  // NOLINT(build/c++11)
#include <mutex>  // NOLINT(build/c++11)
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"
#include "caffe/syncedmem.hpp"
#include "caffe/util/batch_sampler.hpp"
#include "caffe/util/tracklet_list.hpp"

namespace caffe {

/**
 * @brief Feeds videos of T frames from a tracklet list: a triplet a batch (section III-E), or P persons with K videos
 *        each. BatchSampler says which; threads decode ahead.
 *
 * @param bottom input Blob vector (length 0)
 * @param top output Blob vector (length 2 or 3); V videos, F = V T frames, video-major
 *   -# @f$ (F \times 3 \times H \times W) @f$ data: BGR - mean_value, times scale; frames squashed to H x W
 *   -# @f$ (V) @f$ labels: 0 .. identities - 1, in the order of the pids
 *   -# @f$ (F \times 14 \times 3) @f$ joints J1..J14: x, y in pixels of the squashed frame, confidence
 *
 * What a batch holds is a function of (seed, number of the batch): a resumed run reads what the unbroken one would have
 * read. With several solvers solver s of S reads batches s, s + S, ...
 *
 * On the GPU the threads send the frames as bytes, and Forward makes them floats there. Labels and joints are then on both
 * sides.
 *
 * Differs from the paper: nothing by default, where it says nothing (drawing of persons and cameras) see BatchSampler.
 */
template <typename Dtype>
class VideoTripletDataLayer : public Layer<Dtype> {
 public:
  /// @param param provides VideoTripletDataParameter video_triplet_data_param; its options are explained in layers.proto.
  explicit VideoTripletDataLayer(const LayerParameter& param)
      : Layer<Dtype>(param), forward_(0), stopping_(false), gpu_(false) {}
  virtual ~VideoTripletDataLayer() { Stop(); }
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {}
  virtual void SeekForward(int forward);
  virtual inline const char* type() const { return "VideoTripletData"; }
  virtual inline int ExactNumBottomBlobs() const { return 0; }
  virtual inline int MinTopBlobs() const { return 2; }
  virtual inline int MaxTopBlobs() const { return 3; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  /// @brief Data have no gradient.
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom) {}
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom) {}

  /// One batch read ahead. Batch n of this solver lies in slot n % prefetch.
  struct Slot {
    vector<Dtype> data, label, joints;  // as the tops; no data if the threads work for the GPU
    shared_ptr<SyncedMemory> pixels;    // for the GPU instead: bytes (F, H, W, 3)
    std::string error;  // what went wrong, for Forward to say
    bool ready;
  };
  void Start();
  void Stop();
  void Work();  // a thread's life
  void Fill(int forward, Slot* slot) const;
  /// The slot of the next Forward, when it is filled. Restarts the threads if they work for the other mode.
  Slot* Await();
  /// Frees it for the batch `prefetch` later.
  void Release(Slot* slot);
  void StartGpu();
  void StopGpu();
  void Push(Slot* slot);  // to the device; returns when it is there

  vector<Tracklet> tracklets_;
  vector<float> joint_values_;  // (frames of the list, 14, 3)
  vector<Dtype> mean_;          // B, G, R
  shared_ptr<BatchSampler> sampler_;
  int data_count_;              // values of a batch's frames
  int solver_count_, solver_rank_;

  int forward_;    // the next Forward
  int to_fill_;    // the next batch that no thread has taken
  bool stopping_;
  vector<Slot> slots_;
  vector<std::thread> threads_;
  std::mutex mutex_;  // of all of these
  std::condition_variable changed_;

  bool gpu_;  // whether the threads work for the GPU
#ifndef CPU_ONLY
  int device_;
  cudaStream_t copying_;  // the threads'
  cudaEvent_t taken_;     // the last Forward has read its slot, and the labels and joints of the tops have been sent
#endif
};

}  // namespace caffe

#endif  // CAFFE_VIDEO_TRIPLET_DATA_LAYER_HPP_
