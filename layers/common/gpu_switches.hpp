#ifndef CAFFE_UTIL_GPU_SWITCHES_HPP_
#define CAFFE_UTIL_GPU_SWITCHES_HPP_

#include <cstddef>

namespace caffe {

/// CAFFE_TF32=0|1, default 1: whether float convolutions and matrix products may round their factors to TF32 (10 bits of
/// mantissa) on GPUs of compute capability 8.0 on. Gradient tests need 0.
bool Tf32Allowed();

/// CAFFE_DETERMINISTIC=0|1, default 0: 1 takes cuDNN's convolution algorithms by its heuristics, not by timing them, and
/// only those whose results repeat bit by bit.
bool DeterministicWanted();

/// CAFFE_CUDNN_WORKSPACE_MB, default 1024: the most memory in bytes that a convolution algorithm may work with. All
/// layers of a thread share one buffer, which grows to what the chosen algorithms need.
size_t WorkspaceLimit();

}  // namespace caffe

#endif  // CAFFE_UTIL_GPU_SWITCHES_HPP_
