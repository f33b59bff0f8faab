#include <cmath>

#include "caffe/util/math_functions.hpp"
#include "caffe/util/pair_distance.hpp"

namespace caffe {

template <typename Dtype>
void PairDistances(int V, int C, const Dtype* f, int stride, Dtype* d, bool squared) {
  for (int i = 0; i < V; ++i) {
    d[i * V + i] = 0;
    for (int j = 0; j < i; ++j) {
      Dtype square = 0;
      for (int c = 0; c < C; ++c) {
        const Dtype difference = f[i * stride + c] - f[j * stride + c];
        square += difference * difference;
      }
      d[i * V + j] = d[j * V + i] = squared ? square : std::sqrt(square);
    }
  }
}

template <typename Dtype>
void PairDistancesBackward(int V, int C, const Dtype* f, const Dtype* d, const Dtype* k, int stride, Dtype* df,
    bool squared) {
  for (int i = 0; i < V; ++i) {
    for (int j = 0; j < V; ++j) {
      if (d[i * V + j] == 0 || k[i * V + j] == 0) {
        continue;
      }
      const Dtype factor = squared ? 2 * k[i * V + j] : k[i * V + j] / d[i * V + j];
      for (int c = 0; c < C; ++c) {
        df[i * stride + c] += factor * (f[i * stride + c] - f[j * stride + c]);
      }
    }
  }
}

template <typename Dtype>
void UnitRows(int rows, int C, const Dtype* f, Dtype* u, Dtype* norm) {
  for (int i = 0; i < rows; ++i) {
    norm[i] = std::sqrt(caffe_cpu_dot(C, f + i * C, f + i * C));
    caffe_cpu_scale(C, norm[i] > 0 ? 1 / norm[i] : Dtype(0), f + i * C, u + i * C);
  }
}

template <typename Dtype>
void UnitRowsBackward(int rows, int C, const Dtype* u, const Dtype* norm, Dtype* d) {
  for (int i = 0; i < rows; ++i) {
    const Dtype along = caffe_cpu_dot(C, u + i * C, d + i * C);
    const Dtype inverse = norm[i] > 0 ? 1 / norm[i] : Dtype(0);
    caffe_cpu_axpby(C, -along * inverse, u + i * C, inverse, d + i * C);
  }
}

#define INSTANTIATE(Dtype) \
  template void PairDistances<Dtype>(int, int, const Dtype*, int, Dtype*, bool); \
  template void PairDistancesBackward<Dtype>(int, int, const Dtype*, const Dtype*, const Dtype*, int, Dtype*, bool); \
  template void UnitRows<Dtype>(int, int, const Dtype*, Dtype*, Dtype*); \
  template void UnitRowsBackward<Dtype>(int, int, const Dtype*, const Dtype*, Dtype*)
INSTANTIATE(float);
INSTANTIATE(double);

}  // namespace caffe
