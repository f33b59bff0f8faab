#ifndef CAFFE_UTIL_ROIS_HPP_
#define CAFFE_UTIL_ROIS_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/util/host_device.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

/// Refuses boxes that are not M x 5.
template <typename Dtype>
void RequireRoiShape(const LayerParameter& layer, const Blob<Dtype>& rois) {
  if (rois.num_axes() < 2 || rois.count(1) != 5) {
    Refusal(layer).stream() << "the boxes must be M x 5 [map index, x1, y1, x2, y2], not " << rois.shape_string();
  }
}

/// Whether `value` can be a pixel coordinate: a number, and not so large that its rounding to int is undefined.
template <typename Dtype>
CAFFE_HOST_DEVICE inline bool IsPixel(Dtype value) {
  const Dtype kMost = 1e6;
  return value >= -kMost && value <= kMost;
}

/// Index of the map that box `roi` [map index, x1, y1, x2, y2] is on; -1 if there is no such map among `maps`, or a
/// coordinate is none.
template <typename Dtype>
CAFFE_HOST_DEVICE inline int RoiMap(const Dtype* roi, int maps) {
  for (int i = 0; i < 5; ++i) {
    if (!IsPixel(roi[i])) {
      return -1;
    }
  }
  const int map = static_cast<int>(roi[0]);
  return map >= 0 && map < maps && map == roi[0] ? map : -1;
}

/// Refuses boxes (M x 5) for which RoiMap is -1.
template <typename Dtype>
void RequireRois(const LayerParameter& layer, const Blob<Dtype>& rois, int maps) {
  for (int m = 0; m < rois.shape(0); ++m) {
    const Dtype* roi = rois.cpu_data() + m * 5;
    for (int i = 0; i < 5; ++i) {
      if (!IsPixel(roi[i])) {
        Refusal(layer).stream() << "value " << i << " of box " << m << " is " << roi[i]
            << ", no pixel coordinate; check the joints";
      }
    }
    if (RoiMap(roi, maps) < 0) {
      Refusal(layer).stream() << "box " << m << " is on map " << roi[0] << ", but there are maps 0 .. " << maps - 1;
    }
  }
}

}  // namespace caffe

#endif  // CAFFE_UTIL_ROIS_HPP_
