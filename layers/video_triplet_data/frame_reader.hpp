#ifndef CAFFE_UTIL_FRAME_READER_HPP_
#define CAFFE_UTIL_FRAME_READER_HPP_

#include <opencv2/core.hpp>

#include <string>

namespace caffe {

/// Decodes an image file to 8-bit BGR. Throws std::runtime_error with a sentence that names the file if it is missing,
/// cut short (OpenCV alone would fill a truncated picture with grey), or no image.
cv::Mat ReadFrame(const std::string& path);

}  // namespace caffe

#endif  // CAFFE_UTIL_FRAME_READER_HPP_
