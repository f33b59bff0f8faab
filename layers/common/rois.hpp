#ifndef CAFFE_UTIL_ROIS_HPP_
#define CAFFE_UTIL_ROIS_HPP_

#include <cmath>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

/// Refuses boxes that are not M x 5.
template <typename Dtype>
void RequireRoiShape(const LayerParameter& layer, const Blob<Dtype>& rois) {
  if (rois.num_axes() < 2 || rois.count(1) != 5) {
    Refusal(layer).stream() << "the boxes must be M x 5 [map index, x1, y1, x2, y2], not " << rois.shape_string();
  }
}

/// Index of the map that box `roi` [map index, x1, y1, x2, y2] is on; refuses one of `maps` that there is not, and
/// coordinates that are no numbers or too large to be pixels.
template <typename Dtype>
int RoiMap(const LayerParameter& layer, const Dtype* roi, int number, int maps) {
  const Dtype kMost = 1e6;  // pixels; keeps the rounding to int defined
  for (int i = 0; i < 5; ++i) {
    if (!(std::fabs(roi[i]) <= kMost)) {
      Refusal(layer).stream() << "value " << i << " of box " << number << " is " << roi[i]
          << ", no pixel coordinate; check the joints";
    }
  }
  const int map = static_cast<int>(roi[0]);
  if (map < 0 || map >= maps || map != roi[0]) {
    Refusal(layer).stream() << "box " << number << " is on map " << roi[0] << ", but there are maps 0 .. " << maps - 1;
  }
  return map;
}

}  // namespace caffe

#endif  // CAFFE_UTIL_ROIS_HPP_
