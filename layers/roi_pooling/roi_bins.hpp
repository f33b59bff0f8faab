#ifndef CAFFE_UTIL_ROI_BINS_HPP_
#define CAFFE_UTIL_ROI_BINS_HPP_

#include <cmath>

#include "caffe/util/host_device.hpp"

namespace caffe {

/// The bins of a box along one axis of the map, `pooled` between two edges in input pixels that both belong to the box.
template <typename Dtype>
struct RoiBins {
  CAFFE_HOST_DEVICE RoiBins(Dtype low, Dtype high, Dtype scale, int pooled)
      : first(static_cast<int>(std::round(low * scale))) {
    const Dtype length = std::round(high * scale) - first + 1;
    size = (length < 1 ? 1 : length) / pooled;
  }

  /// Bin p is the map's pixels Begin .. End - 1 of the `length` that there are; none if they are equal.
  CAFFE_HOST_DEVICE int Begin(int p, int length) const {
    return Clip(first + static_cast<int>(std::floor(p * size)), length);
  }
  CAFFE_HOST_DEVICE int End(int p, int length) const {
    return Clip(first + static_cast<int>(std::ceil((p + 1) * size)), length);
  }
  /// The first and the last of the `pooled` bins that may hold the map's pixel `at`. They are a few too many rather than one
  /// too few, whatever the rounding: bins overlap by a pixel where the edge between them lies in it.
  CAFFE_HOST_DEVICE int FirstOf(int at) const {
    const Dtype bin = std::floor((at - first) / size - Dtype(0.01));
    return bin < 0 ? 0 : static_cast<int>(bin);
  }
  CAFFE_HOST_DEVICE int LastOf(int at, int pooled) const {
    const Dtype bin = std::floor((at + 1 - first) / size + Dtype(0.01));
    return bin < pooled ? static_cast<int>(bin) : pooled - 1;
  }

  CAFFE_HOST_DEVICE static int Clip(int value, int high) { return value < 0 ? 0 : value > high ? high : value; }

  int first;   // map pixel of the first edge
  Dtype size;  // of a bin, in map pixels
};

}  // namespace caffe

#endif  // CAFFE_UTIL_ROI_BINS_HPP_
