#ifndef CAFFE_UTIL_TRACKLET_LIST_HPP_
#define CAFFE_UTIL_TRACKLET_LIST_HPP_

#include <string>
#include <vector>

namespace caffe {

/// One row of a tracklet list; stal/tracklets.py defines the file.
struct Tracklet {
  std::string name;
  int pid, camid;
  std::vector<std::string> frames;  // relative to the data set's root
  int first_frame;                  // number of frames in the rows before: the row of its first joints
};

/// Reads a tracklet list. Throws std::runtime_error with a sentence that names the file, the line and the fix.
std::vector<Tracklet> ReadTrackletList(const std::string& path);

/// Reads the joints of a list: .npy, float32 (frames x 14 x 3), [x, y, confidence] in pixels of the published image.
/// Throws std::runtime_error with a sentence if the file is missing, of another shape or type, or cut short.
std::vector<float> ReadJoints(const std::string& path, int frames);

const int kJoints = 14;

}  // namespace caffe

#endif  // CAFFE_UTIL_TRACKLET_LIST_HPP_
