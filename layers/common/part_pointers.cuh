#ifndef CAFFE_UTIL_PART_POINTERS_CUH_
#define CAFFE_UTIL_PART_POINTERS_CUH_

namespace caffe {

/// Parts that one launch takes; a layer with more of them launches again.
const int kPartsPerLaunch = 32;

/// Device pointers to a blob of each part, as an argument of a kernel; NULL for a part without one.
template <typename Dtype>
struct PartPointers {
  Dtype* part[kPartsPerLaunch] = {};
};

}  // namespace caffe

#endif  // CAFFE_UTIL_PART_POINTERS_CUH_
