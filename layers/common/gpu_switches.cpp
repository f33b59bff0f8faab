#include <cstdlib>
#include <stdexcept>
#include <string>

#include "caffe/util/gpu_switches.hpp"

namespace caffe {

namespace {

size_t NumberFromEnvironment(const char* name, size_t largest, size_t otherwise) {
  const char* text = std::getenv(name);
  if (text == NULL || *text == '\0') {
    return otherwise;
  }
  char* end;
  const unsigned long number = std::strtoul(text, &end, 10);  // NOLINT(runtime/int)
  if (*text < '0' || *text > '9' || *end != '\0' || number > largest) {
    throw std::invalid_argument(std::string("the environment variable ") + name + " must be a number from 0 to " +
        std::to_string(largest) + ", not " + text);
  }
  return number;
}

}  // namespace

bool Tf32Allowed() {
  static const bool allowed = NumberFromEnvironment("CAFFE_TF32", 1, 1) == 1;
  return allowed;
}

bool DeterministicWanted() {
  static const bool wanted = NumberFromEnvironment("CAFFE_DETERMINISTIC", 1, 0) == 1;
  return wanted;
}

size_t WorkspaceLimit() {
  static const size_t limit = NumberFromEnvironment("CAFFE_CUDNN_WORKSPACE_MB", 1 << 20, 1024) << 20;
  return limit;
}

}  // namespace caffe
