#include <algorithm>
#include <fstream>
#include <iterator>
#include <opencv2/imgcodecs.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "caffe/util/frame_reader.hpp"

namespace caffe {

namespace {

/// Whether `bytes` that start like a file of this kind lack its trailer; some writers pad the end.
bool CutShort(const std::vector<char>& bytes, const std::string& start, const std::string& trailer) {
  const int kPadding = 64;
  if (bytes.size() < start.size() || !std::equal(start.begin(), start.end(), bytes.begin())) {
    return false;
  }
  const size_t tail = std::min(bytes.size(), kPadding + trailer.size());
  return std::search(bytes.end() - tail, bytes.end(), trailer.begin(), trailer.end()) == bytes.end();
}

}  // namespace

cv::Mat ReadFrame(const std::string& path) {
  std::ifstream stream(path.c_str(), std::ios::binary);
  if (!stream) {
    throw std::runtime_error("cannot read the image " + path + ": restore it or prepare the list anew");
  }
  const std::vector<char> bytes((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  if (CutShort(bytes, "\xff\xd8", "\xff\xd9")) {
    throw std::runtime_error(path + " is a JPEG file that is cut short: restore it from the data set's archive");
  }
  if (CutShort(bytes, "\x89PNG", "IEND\xae\x42\x60\x82")) {
    throw std::runtime_error(path + " is a PNG file that is cut short: restore it from the data set's archive");
  }
  const cv::Mat image = bytes.empty() ? cv::Mat() : cv::imdecode(bytes, cv::IMREAD_COLOR);
  if (image.empty()) {
    throw std::runtime_error(path + " is no readable image: restore it from the data set's archive");
  }
  return image;
}

}  // namespace caffe
