#ifndef CAFFE_UTIL_ROI_SAMPLE_HPP_
#define CAFFE_UTIL_ROI_SAMPLE_HPP_

#include "caffe/util/host_device.hpp"

namespace caffe {

/// One coordinate of a sample of ROIAlign: its two neighbours on the map, their weights, and how it depends on the box.
template <typename Dtype>
struct RoiSample {
  /// Sample i of the `samples` between the edges `begin` and `end` (input pixels) along an axis of `size` map pixels.
  CAFFE_HOST_DEVICE RoiSample(Dtype begin, Dtype end, Dtype scale, int i, int samples, int size) {
    place = (i + Dtype(0.5)) / samples;
    const Dtype along = RoundedProduct((end - begin) * scale, place);
    const Dtype coordinate = RoundedProduct(begin, scale) - Dtype(0.5) + along;
    Dtype moved = coordinate < 0 ? Dtype(0) : coordinate;
    moved = size - 1 < moved ? Dtype(size - 1) : moved;
    low = static_cast<int>(moved);
    if (low > size - 2) {
      low = size > 1 ? size - 2 : 0;
    }
    high = low + 1 < size ? low + 1 : size - 1;
    slope = moved == coordinate && high > low ? 1 : 0;
    high_weight = moved - low;
    low_weight = 1 - high_weight;
    if (coordinate < -1 || coordinate > size) {
      low_weight = high_weight = slope = 0;
    }
  }

  int low, high;
  Dtype low_weight, high_weight;  // both 0: off the map
  Dtype slope;                    // d high_weight / d coordinate: 1, or 0 where the coordinate was moved
  Dtype place;                    // in [0, 1] from the box's first edge to its second
};

}  // namespace caffe

#endif  // CAFFE_UTIL_ROI_SAMPLE_HPP_
