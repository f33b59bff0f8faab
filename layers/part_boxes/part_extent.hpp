#ifndef CAFFE_UTIL_PART_EXTENT_HPP_
#define CAFFE_UTIL_PART_EXTENT_HPP_

#include <cmath>

#include "caffe/util/host_device.hpp"

namespace caffe {

/// A box's extent along one axis: its two edges, the joints they come from, and d edge / d (minimum, maximum).
template <typename Dtype>
struct PartExtent {
  Dtype edge[2];
  int joint[2];
  Dtype slope[2][2];
};

/// How PartBoxes makes a box of joints; its options.
template <typename Dtype>
struct PartBoxRule {
  Dtype grow, min_side;
  int clip[2];  // width, height; 0: none

  /// The box about the `count` joints of `part` along axis 0 (x) or 1 (y), of one frame's joints (J x 3). Its edges are NaN
  /// if a coordinate is no number.
  CAFFE_HOST_DEVICE PartExtent<Dtype> Extent(const Dtype* joints, const int* part, int count, int axis) const {
    PartExtent<Dtype> extent = {{0, 0}, {part[0], part[0]}, {{1 + grow, -grow}, {-grow, 1 + grow}}};
    bool finite = true;
    for (int k = 0; k < count; ++k) {
      const Dtype value = joints[part[k] * 3 + axis];
      finite = finite && std::isfinite(value);
      if (value < joints[extent.joint[0] * 3 + axis]) {
        extent.joint[0] = part[k];
      }
      if (value > joints[extent.joint[1] * 3 + axis]) {
        extent.joint[1] = part[k];
      }
    }
    const Dtype low = joints[extent.joint[0] * 3 + axis], high = joints[extent.joint[1] * 3 + axis];
    const Dtype added = RoundedProduct(grow, high - low);
    extent.edge[0] = low - added;
    extent.edge[1] = high + added;
    if ((high - low) * (1 + 2 * grow) < min_side) {
      const Dtype centre = (low + high) / 2;
      extent.edge[0] = centre - min_side / 2;
      extent.edge[1] = centre + min_side / 2;
      extent.slope[0][0] = extent.slope[0][1] = extent.slope[1][0] = extent.slope[1][1] = Dtype(0.5);
    }
    const int last = (axis == 0 ? clip[0] : clip[1]) - 1;
    for (int e = 0; last >= 0 && e < 2; ++e) {
      if (extent.edge[e] < 0 || extent.edge[e] > last) {
        extent.edge[e] = extent.edge[e] < 0 ? 0 : last;
        extent.slope[e][0] = extent.slope[e][1] = 0;
      }
    }
    if (!finite) {
      extent.edge[0] = extent.edge[1] = NAN;
    }
    return extent;
  }
};

}  // namespace caffe

#endif  // CAFFE_UTIL_PART_EXTENT_HPP_
