#include <algorithm>
#include <vector>

#include "caffe/layers/video_triplet_data_layer.hpp"

namespace caffe {

/// Bytes (F, H, W, 3) to the top's planes (F, 3, H, W), with the CPU's arithmetic. A thread is one of the n = F H W pixels.
template <typename Dtype>
__global__ void FramePlanes(const int n, const unsigned char* pixels, const int area, const Dtype mean_blue,
    const Dtype mean_green, const Dtype mean_red, const Dtype scale, Dtype* planes) {
  CUDA_KERNEL_LOOP(i, n) {
    const unsigned char* pixel = pixels + i * 3;
    Dtype* out = planes + i / area * 3 * area + i % area;
    out[0] = (pixel[0] - mean_blue) * scale;
    out[area] = (pixel[1] - mean_green) * scale;
    out[2 * area] = (pixel[2] - mean_red) * scale;
  }
}

/// Gives a top its values on the host, and sends them behind the kernels launched so far without waiting.
template <typename Dtype>
void SetOnBothSides(const vector<Dtype>& values, Blob<Dtype>* top) {
  const cudaStream_t kernels = 0;
  std::copy(values.begin(), values.end(), top->mutable_cpu_data());
  top->data()->async_gpu_push(kernels);
}

template <typename Dtype>
void VideoTripletDataLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const Dtype scale = this->layer_param_.video_triplet_data_param().scale();
  const int area = top[0]->count(2), n = top[0]->num() * area;
  Slot* slot = Await();
  // The frames are on the device. What the Forward before sends has left the tops' memory: a wait for hosts only that are a
  // whole iteration ahead of the device.
  CUDA_CHECK(cudaEventSynchronize(taken_));
  // NOLINT_NEXT_LINE(whitespace/operators)
  FramePlanes<Dtype><<<CAFFE_GET_BLOCKS(n), CAFFE_CUDA_NUM_THREADS>>>(
      n, static_cast<const unsigned char*>(slot->pixels->gpu_data()), area, mean_[0], mean_[1], mean_[2], scale,
      top[0]->mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
  SetOnBothSides(slot->label, top[1]);
  if (top.size() == 3) {
    SetOnBothSides(slot->joints, top[2]);
  }
  CUDA_CHECK(cudaEventRecord(taken_));
  Release(slot);
}

INSTANTIATE_LAYER_GPU_FORWARD(VideoTripletDataLayer);

}  // namespace caffe
