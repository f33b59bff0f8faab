#include <cmath>
#include <vector>

#include "caffe/layers/attention_distance_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/pair_distance.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

template <typename Dtype>
bool AttentionDistanceLayer<Dtype>::UnitFeatures() const {
  return this->layer_param_.attention_distance_param().feature_norm() == L2_UNIT;
}

template <typename Dtype>
void AttentionDistanceLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LAYER_REQUIRE(bottom[0]->num_axes() == 3) << "the parts must be V x R x C, not " << bottom[0]->shape_string();
  const int V = bottom[0]->shape(0), R = bottom[0]->shape(1);
  LAYER_REQUIRE(bottom[1]->num_axes() == 2 && bottom[1]->shape(0) == V && bottom[1]->shape(1) == R)
      << "the weights must be " << V << " x " << R << " like the parts, not " << bottom[1]->shape_string();
  const int distance_shape[] = {R, V, V};
  top[0]->Reshape(vector<int>(distance_shape + 1, distance_shape + 3));
  distance_.Reshape(vector<int>(distance_shape, distance_shape + 3));
  weight_.ReshapeLike(*bottom[1]);
  weight_norm_.Reshape(vector<int>(1, V));
  if (UnitFeatures()) {
    unit_.ReshapeLike(*bottom[0]);
    feature_norm_.ReshapeLike(*bottom[1]);
  }
}

template <typename Dtype>
void AttentionDistanceLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const AttentionDistanceParameter& param = this->layer_param_.attention_distance_param();
  const bool l1 = param.norm() == AttentionDistanceParameter_Norm_L1;
  const int V = bottom[0]->shape(0), R = bottom[0]->shape(1), C = bottom[0]->shape(2);
  const Dtype* a = bottom[1]->cpu_data();
  Dtype* w = weight_.mutable_cpu_data();
  Dtype* norms = weight_norm_.mutable_cpu_data();
  for (int v = 0; v < V; ++v) {
    const Dtype norm = l1 ? caffe_cpu_asum(R, a + v * R) : std::sqrt(caffe_cpu_dot(R, a + v * R, a + v * R));
    norms[v] = param.spatial() ? norm : Dtype(0);
    if (norms[v] > 0) {
      for (int r = 0; r < R; ++r) {
        w[v * R + r] = a[v * R + r] / norm;
      }
    } else {
      caffe_set(R, l1 ? Dtype(1) / R : 1 / std::sqrt(Dtype(R)), w + v * R);
    }
  }
  const Dtype* f = bottom[0]->cpu_data();
  if (UnitFeatures()) {
    UnitRows(V * R, C, f, unit_.mutable_cpu_data(), feature_norm_.mutable_cpu_data());
    f = unit_.cpu_data();
  }
  Dtype* psi = top[0]->mutable_cpu_data();
  caffe_set(V * V, Dtype(0), psi);
  for (int r = 0; r < R; ++r) {
    Dtype* d = distance_.mutable_cpu_data() + r * V * V;
    PairDistances(V, C, f + r * C, R * C, d);
    for (int i = 0; i < V; ++i) {
      for (int j = 0; j < V; ++j) {
        psi[i * V + j] += w[i * R + r] * w[j * R + r] * d[i * V + j];
      }
    }
  }
}

template <typename Dtype>
void AttentionDistanceLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const AttentionDistanceParameter& param = this->layer_param_.attention_distance_param();
  const int V = bottom[0]->shape(0), R = bottom[0]->shape(1), C = bottom[0]->shape(2);
  const Dtype* g = top[0]->cpu_diff();
  const Dtype* w = weight_.cpu_data();
  const Dtype* d = distance_.cpu_data();  // (R, V, V)
  if (propagate_down[0]) {
    const Dtype* f = UnitFeatures() ? unit_.cpu_data() : bottom[0]->cpu_data();
    Dtype* df = bottom[0]->mutable_cpu_diff();
    caffe_set(bottom[0]->count(), Dtype(0), df);
    vector<Dtype> k(V * V);
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < V; ++i) {
        for (int j = 0; j < V; ++j) {
          k[i * V + j] = (g[i * V + j] + g[j * V + i]) * w[i * R + r] * w[j * R + r];
        }
      }
      PairDistancesBackward(V, C, f + r * C, d + r * V * V, k.data(), R * C, df + r * C);
    }
    if (UnitFeatures()) {
      UnitRowsBackward(V * R, C, f, feature_norm_.cpu_data(), df);
    }
  }
  if (propagate_down[1]) {
    const bool l1 = param.norm() == AttentionDistanceParameter_Norm_L1;
    const Dtype* a = bottom[1]->cpu_data();
    Dtype* da = bottom[1]->mutable_cpu_diff();
    vector<Dtype> omega(R);  // dL / dw_i^r
    for (int i = 0; i < V; ++i) {
      const Dtype norm = weight_norm_.cpu_data()[i];
      Dtype along = 0, total = 0;
      for (int r = 0; r < R; ++r) {
        omega[r] = 0;
        for (int j = 0; j < V; ++j) {
          omega[r] += (g[i * V + j] + g[j * V + i]) * w[j * R + r] * d[(r * V + i) * V + j];
        }
        along += omega[r] * w[i * R + r];
        total += omega[r];
      }
      for (int r = 0; r < R; ++r) {
        const Dtype wi = w[i * R + r];
        if (norm == 0) {
          da[i * R + r] = 0;
        } else if (param.gradient() == PAPER) {
          da[i * R + r] = total * (1 - wi) / norm;
        } else {
          da[i * R + r] = (omega[r] - (l1 ? caffe_sign(a[i * R + r]) : wi) * along) / norm;
        }
      }
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(AttentionDistanceLayer);
#endif

INSTANTIATE_CLASS(AttentionDistanceLayer);
REGISTER_LAYER_CLASS(AttentionDistance);

}  // namespace caffe
