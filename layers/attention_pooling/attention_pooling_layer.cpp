#include <vector>

#include "caffe/layers/attention_pooling_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

template <typename Dtype>
void AttentionPoolingLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  frames_ = this->layer_param_.attention_pooling_param().frames();
  LAYER_REQUIRE(frames_ > 0) << "frames must be at least 1";
}

template <typename Dtype>
void AttentionPoolingLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int F = bottom[0]->shape(0), R = bottom[0]->count(1);
  LAYER_REQUIRE(F % frames_ == 0) << "the scores have " << F << " rows, not a multiple of frames " << frames_;
  LAYER_REQUIRE(R == bottom.size() - 1) << "the scores have " << R << " columns, but " << bottom.size() - 1
      << " feature bottoms follow; give one for each part";
  const int C = bottom[1]->count(1);
  for (int r = 1; r <= R; ++r) {
    LAYER_REQUIRE(bottom[r]->shape(0) == F && bottom[r]->count(1) == C) << "features " << r << " have shape "
        << bottom[r]->shape_string() << ", not " << F << " rows of " << C;
  }
  const int V = F / frames_;
  const int parts_shape[] = {V, R, C}, weights_shape[] = {V, R}, scores_shape[] = {F, R};
  top[0]->Reshape(vector<int>(parts_shape, parts_shape + 3));
  top[1]->Reshape(vector<int>(weights_shape, weights_shape + 2));
  sum_.Reshape(vector<int>(weights_shape, weights_shape + 2));
  fraction_.Reshape(vector<int>(scores_shape, scores_shape + 2));
}

template <typename Dtype>
void AttentionPoolingLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const bool temporal = this->layer_param_.attention_pooling_param().temporal();
  const int V = top[0]->shape(0), R = top[0]->shape(1), C = top[0]->shape(2), T = frames_;
  const Dtype* a = bottom[0]->cpu_data();
  Dtype* parts = top[0]->mutable_cpu_data();
  Dtype* weights = top[1]->mutable_cpu_data();
  Dtype* fraction = fraction_.mutable_cpu_data();
  Dtype* sums = sum_.mutable_cpu_data();
  caffe_set(top[0]->count(), Dtype(0), parts);
  for (int v = 0; v < V; ++v) {
    for (int r = 0; r < R; ++r) {
      Dtype sum = 0;
      for (int t = 0; t < T; ++t) {
        sum += a[(v * T + t) * R + r];
      }
      weights[v * R + r] = sum / T;
      sums[v * R + r] = temporal && sum > 0 ? sum : Dtype(0);
      for (int t = 0; t < T; ++t) {
        const int row = v * T + t;
        fraction[row * R + r] = sums[v * R + r] > 0 ? a[row * R + r] / sum : Dtype(1) / T;
        caffe_axpy(C, fraction[row * R + r], bottom[r + 1]->cpu_data() + row * C, parts + (v * R + r) * C);
      }
    }
  }
}

template <typename Dtype>
void AttentionPoolingLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const bool paper = this->layer_param_.attention_pooling_param().gradient() == PAPER;
  const int F = bottom[0]->shape(0), R = top[0]->shape(1), C = top[0]->shape(2), T = frames_;
  const Dtype* fraction = fraction_.cpu_data();
  for (int r = 0; r < R; ++r) {
    for (int row = 0; row < F; ++row) {
      const int part = (row / T) * R + r;
      const Dtype* p = top[0]->cpu_diff() + part * C;
      if (propagate_down[r + 1]) {
        caffe_cpu_scale(C, fraction[row * R + r], p, bottom[r + 1]->mutable_cpu_diff() + row * C);
      }
      if (propagate_down[0]) {
        Dtype gradient = top[1]->cpu_diff()[part] / (paper ? 1 : T);
        if (sum_.cpu_data()[part] > 0) {
          gradient += (caffe_cpu_dot(C, p, bottom[r + 1]->cpu_data() + row * C) -
                       caffe_cpu_dot(C, p, top[0]->cpu_data() + part * C)) / sum_.cpu_data()[part];
        }
        bottom[0]->mutable_cpu_diff()[row * R + r] = gradient;
      }
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(AttentionPoolingLayer);
#endif

INSTANTIATE_CLASS(AttentionPoolingLayer);
REGISTER_LAYER_CLASS(AttentionPooling);

}  // namespace caffe
