#include <algorithm>
#include <cmath>
#include <vector>

#include "caffe/layers/pose_input_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

template <typename Dtype>
void PoseInputLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const PoseInputParameter& param = this->layer_param_.pose_input_param();
  const int means = param.mean_value_size(), h = param.new_height(), w = param.new_width();
  LAYER_REQUIRE(h > 0 && w > 0) << "new_height and new_width must be at least 1";
  LAYER_REQUIRE(param.aspect() > 0 && param.sigma() > 0) << "aspect and sigma must be above 0";
  LAYER_REQUIRE(param.scale() != 0) << "scale must not be 0; give the one that the bottom was made with";
  LAYER_REQUIRE(means == 0 || means == 1 || means == 3) << "give no mean_value, one, or three (B, G, R), not " << means;
  factor_ = 1 / (256 * Dtype(param.scale()));
  fill_ = param.fill() / Dtype(256) - Dtype(0.5);
  for (int c = 0; c < 3; ++c) {
    offset_[c] = (means == 0 ? 0 : param.mean_value(c % means)) / Dtype(256) - Dtype(0.5);
  }
  centre_.Reshape(vector<int>{h, w});
  Dtype* centre = centre_.mutable_cpu_data();
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      const double dx = (x - w / 2.) / param.sigma(), dy = (y - h / 2.) / param.sigma();
      centre[y * w + x] = std::exp(-(dx * dx + dy * dy) / 2);
    }
  }
  rows_.size = columns_.size = 0;
}

template <typename Dtype>
void PoseInputLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const PoseInputParameter& param = this->layer_param_.pose_input_param();
  LAYER_REQUIRE(bottom[0]->num_axes() == 4 && bottom[0]->channels() == 3 && bottom[0]->count(2) > 0)
      << "the frames must be F x 3 x H x W, not " << bottom[0]->shape_string();
  const int h = param.new_height(), w = param.new_width();
  top[0]->Reshape(bottom[0]->num(), 4, h, w);
  const double aspect = param.aspect();
  const bool narrow = aspect <= double(w) / h;
  SetAxis(h, narrow ? h : w / aspect, bottom[0]->height(), &rows_);
  SetAxis(w, narrow ? aspect * h : w, bottom[0]->width(), &columns_);
}

template <typename Dtype>
void PoseInputLayer<Dtype>::SetAxis(int pixels, double side, int size, Axis* axis) {
  if (axis->size == size) {  // not in each pass: the kernels' copy would travel again
    return;
  }
  axis->size = size;
  axis->neighbours.Reshape(vector<int>{pixels, 2});
  axis->weights.Reshape(vector<int>{pixels, 2});
  axis->readers.Reshape(vector<int>{size, 2});
  int* neighbours = axis->neighbours.mutable_cpu_data();
  Dtype* weights = axis->weights.mutable_cpu_data();
  int* readers = axis->readers.mutable_cpu_data();
  std::fill(neighbours, neighbours + 2 * pixels, -1);
  std::fill(readers, readers + 2 * size, 0);
  const double edge = (pixels - side) / 2;
  for (int i = 0; i < pixels; ++i) {
    const double centre = i + 0.5;
    if (centre < edge || centre >= edge + side) {
      continue;
    }
    const double coordinate = std::min(std::max((centre - edge) / side * size - 0.5, 0.), size - 1.);
    const int low = std::min(static_cast<int>(coordinate), std::max(size - 2, 0));
    neighbours[2 * i] = low;
    neighbours[2 * i + 1] = std::min(low + 1, size - 1);
    const Dtype high_weight = coordinate - low;
    weights[2 * i] = 1 - high_weight;
    weights[2 * i + 1] = high_weight;
    for (int n = 2 * i; n < 2 * i + 2; ++n) {  // coordinates rise with i, so that readers lie side by side
      int* reader = readers + 2 * neighbours[n];
      reader[0] = reader[1] == 0 ? i : reader[0];
      reader[1] = i + 1;
    }
  }
}

template <typename Dtype>
void PoseInputLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int F = bottom[0]->num(), in = bottom[0]->count(2), W = bottom[0]->width();
  const int out = top[0]->count(2), h = top[0]->height(), w = top[0]->width();
  const Dtype* frames = bottom[0]->cpu_data();
  const Dtype* centre = centre_.cpu_data();
  const int* rows = rows_.neighbours.cpu_data();
  const int* columns = columns_.neighbours.cpu_data();
  const Dtype* y_weights = rows_.weights.cpu_data();
  const Dtype* x_weights = columns_.weights.cpu_data();
  Dtype* planes = top[0]->mutable_cpu_data();
#pragma omp parallel for collapse(2)
  for (int f = 0; f < F; ++f) {
    for (int c = 0; c < 4; ++c) {
      Dtype* plane = planes + (f * 4 + c) * out;
      if (c == 3) {
        std::copy(centre, centre + out, plane);
        continue;
      }
      std::fill(plane, plane + out, fill_);
      for (int y = 0; y < h; ++y) {
        if (rows[2 * y] < 0) {
          continue;
        }
        const Dtype* low = frames + (f * 3 + c) * in + rows[2 * y] * W;
        const Dtype* high = frames + (f * 3 + c) * in + rows[2 * y + 1] * W;
        for (int x = 0; x < w; ++x) {
          if (columns[2 * x] >= 0) {
            const int left = columns[2 * x], right = columns[2 * x + 1];
            plane[y * w + x] = offset_[c] + factor_ * (
                y_weights[2 * y] * (x_weights[2 * x] * low[left] + x_weights[2 * x + 1] * low[right]) +
                y_weights[2 * y + 1] * (x_weights[2 * x] * high[left] + x_weights[2 * x + 1] * high[right]));
          }
        }
      }
    }
  }
}

template <typename Dtype>
void PoseInputLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!propagate_down[0]) {
    return;
  }
  const int F = bottom[0]->num(), in = bottom[0]->count(2), W = bottom[0]->width();
  const int out = top[0]->count(2), h = top[0]->height(), w = top[0]->width();
  const Dtype* planes = top[0]->cpu_diff();
  const int* rows = rows_.neighbours.cpu_data();
  const int* columns = columns_.neighbours.cpu_data();
  const Dtype* y_weights = rows_.weights.cpu_data();
  const Dtype* x_weights = columns_.weights.cpu_data();
  Dtype* frames = bottom[0]->mutable_cpu_diff();
  caffe_set(bottom[0]->count(), Dtype(0), frames);
#pragma omp parallel for collapse(2)
  for (int f = 0; f < F; ++f) {
    for (int c = 0; c < 3; ++c) {
      const Dtype* plane = planes + (f * 4 + c) * out;
      for (int y = 0; y < h; ++y) {
        if (rows[2 * y] < 0) {
          continue;
        }
        Dtype* low = frames + (f * 3 + c) * in + rows[2 * y] * W;
        Dtype* high = frames + (f * 3 + c) * in + rows[2 * y + 1] * W;
        for (int x = 0; x < w; ++x) {
          if (columns[2 * x] >= 0) {
            const int left = columns[2 * x], right = columns[2 * x + 1];
            const Dtype g = factor_ * plane[y * w + x];
            low[left] += g * y_weights[2 * y] * x_weights[2 * x];
            low[right] += g * y_weights[2 * y] * x_weights[2 * x + 1];
            high[left] += g * y_weights[2 * y + 1] * x_weights[2 * x];
            high[right] += g * y_weights[2 * y + 1] * x_weights[2 * x + 1];
          }
        }
      }
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(PoseInputLayer);
#endif

INSTANTIATE_CLASS(PoseInputLayer);
REGISTER_LAYER_CLASS(PoseInput);

}  // namespace caffe
