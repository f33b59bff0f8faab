#ifndef CAFFE_UTIL_REFUSAL_HPP_
#define CAFFE_UTIL_REFUSAL_HPP_

#include <sstream>
#include <stdexcept>
#include <string>

#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief Wrong input, said in one sentence: the text streamed into it, behind the layer's name and type, becomes the
 *        std::invalid_argument that its destructor throws. The caffe program prints it, pycaffe raises ValueError.
 */
class Refusal {
 public:
  explicit Refusal(const LayerParameter& layer) {
    text_ << "layer '" << layer.name() << "' (" << layer.type() << "): ";
  }
  ~Refusal() noexcept(false) { throw std::invalid_argument(text_.str()); }
  std::ostream& stream() { return text_; }

 private:
  std::ostringstream text_;
};

}  // namespace caffe

/// For use inside a layer: LAYER_REQUIRE(condition) << "what is wrong, with its numbers; what to change".
#define LAYER_REQUIRE(condition) \
  if (condition) {} else ::caffe::Refusal(this->layer_param_).stream()

#endif  // CAFFE_UTIL_REFUSAL_HPP_
