#ifdef USE_CUDNN
#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>  // NOLINT(build/c++11)
#include <string>
#include <vector>

#include "caffe/util/cudnn_convolution.hpp"
#include "caffe/util/gpu_switches.hpp"

namespace caffe {

namespace {

/// The descriptors of a convolution, for the three directions below.
struct Descriptors {
  cudnnTensorDescriptor_t image, map;
  cudnnFilterDescriptor_t weight;
  cudnnConvolutionDescriptor_t convolution;
};

/// Image and weight to map.
struct ToMapDirection {
  static constexpr int kIndex = 0;
  typedef cudnnConvolutionFwdAlgoPerf_t Result;
  static cudnnStatus_t Rank(const Descriptors& d, int wanted, int* found, Result* results) {
    return cudnnGetConvolutionForwardAlgorithm_v7(cudnn::handle(), d.image, d.weight, d.convolution, d.map, wanted, found,
        results);
  }
  static cudnnStatus_t Time(const Descriptors& d, const void* image, const void* weight, void* map, int wanted, int* found,
      Result* results, void* workspace, size_t bytes) {
    return cudnnFindConvolutionForwardAlgorithmEx(cudnn::handle(), d.image, image, d.weight, weight, d.convolution, d.map,
        map, wanted, found, results, workspace, bytes);
  }
  static cudnnStatus_t Workspace(const Descriptors& d, int algorithm, size_t* bytes) {
    return cudnnGetConvolutionForwardWorkspaceSize(cudnn::handle(), d.image, d.weight, d.convolution, d.map,
        static_cast<cudnnConvolutionFwdAlgo_t>(algorithm), bytes);
  }
};

/// Map and weight to image.
struct ToImageDirection {
  static constexpr int kIndex = 1;
  typedef cudnnConvolutionBwdDataAlgoPerf_t Result;
  static cudnnStatus_t Rank(const Descriptors& d, int wanted, int* found, Result* results) {
    return cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnn::handle(), d.weight, d.map, d.convolution, d.image, wanted,
        found, results);
  }
  static cudnnStatus_t Time(const Descriptors& d, const void* map, const void* weight, void* image, int wanted, int* found,
      Result* results, void* workspace, size_t bytes) {
    return cudnnFindConvolutionBackwardDataAlgorithmEx(cudnn::handle(), d.weight, weight, d.map, map, d.convolution,
        d.image, image, wanted, found, results, workspace, bytes);
  }
  static cudnnStatus_t Workspace(const Descriptors& d, int algorithm, size_t* bytes) {
    return cudnnGetConvolutionBackwardDataWorkspaceSize(cudnn::handle(), d.weight, d.map, d.convolution, d.image,
        static_cast<cudnnConvolutionBwdDataAlgo_t>(algorithm), bytes);
  }
};

/// Image and map to weight.
struct ToWeightDirection {
  static constexpr int kIndex = 2;
  typedef cudnnConvolutionBwdFilterAlgoPerf_t Result;
  static cudnnStatus_t Rank(const Descriptors& d, int wanted, int* found, Result* results) {
    return cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnn::handle(), d.image, d.map, d.convolution, d.weight, wanted,
        found, results);
  }
  static cudnnStatus_t Time(const Descriptors& d, const void* image, const void* map, void* weight, int wanted, int* found,
      Result* results, void* workspace, size_t bytes) {
    return cudnnFindConvolutionBackwardFilterAlgorithmEx(cudnn::handle(), d.image, image, d.map, map, d.convolution,
        d.weight, weight, wanted, found, results, workspace, bytes);
  }
  static cudnnStatus_t Workspace(const Descriptors& d, int algorithm, size_t* bytes) {
    return cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnn::handle(), d.image, d.map, d.convolution, d.weight,
        static_cast<cudnnConvolutionBwdFilterAlgo_t>(algorithm), bytes);
  }
};

const int kMostAlgorithms = 16;  // cuDNN 9 has 8, 6 and 7 of them, some with two kinds of arithmetic

template <typename Result>
bool Usable(const Result& result, size_t limit) {
  return result.status == CUDNN_STATUS_SUCCESS && result.memory <= limit &&
      (Tf32Allowed() || result.mathType == CUDNN_FMA_MATH || result.mathType == CUDNN_DEFAULT_MATH) &&
      result.mathType != CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION &&  // to half precision
      (!DeterministicWanted() || result.determinism == CUDNN_DETERMINISTIC);
}

/// cuDNN's default arithmetic rounds float factors to TF32 where the GPU can.
template <typename Dtype>
cudnnMathType_t Math() {
  return Tf32Allowed() || sizeof(Dtype) == sizeof(double) ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH;
}

/// The first, that is best, of the usable results; false if there is none. A result says what it needs with its own
/// arithmetic. It may be run with another, which cuDNN may not have, or in a larger workspace.
template <typename Direction, typename Dtype>
bool Best(const Descriptors& d, const typename Direction::Result* results, int found, size_t limit,
    ConvolutionAlgorithm* best) {
  for (int i = 0; i < found; ++i) {
    const cudnnMathType_t math = Tf32Allowed() ? results[i].mathType : Math<Dtype>();
    size_t bytes = 0;
    CUDNN_CHECK(cudnnSetConvolutionMathType(d.convolution, math));
    if (Usable(results[i], limit) && Direction::Workspace(d, results[i].algo, &bytes) == CUDNN_STATUS_SUCCESS &&
        bytes <= limit) {
      best->number = results[i].algo;
      best->workspace = bytes;
      best->math = math;
      return true;
    }
  }
  return false;
}

/// What was chosen, by device, type, direction and shape, for all layers of the process.
std::map<std::vector<int>, ConvolutionAlgorithm> choices;
std::mutex choices_mutex;

}  // namespace

template <typename Dtype>
CudnnConvolution<Dtype>::CudnnConvolution(bool transposed) : transposed_(transposed), shaped_(false) {
  CUDNN_CHECK(cudnnCreateTensorDescriptor(&image_));
  CUDNN_CHECK(cudnnCreateTensorDescriptor(&map_));
  CUDNN_CHECK(cudnnCreateTensorDescriptor(&bias_));
  CUDNN_CHECK(cudnnCreateFilterDescriptor(&weight_));
  CUDNN_CHECK(cudnnCreateConvolutionDescriptor(&convolution_));
}

template <typename Dtype>
CudnnConvolution<Dtype>::~CudnnConvolution() {
  cudnnDestroyTensorDescriptor(image_);
  cudnnDestroyTensorDescriptor(map_);
  cudnnDestroyTensorDescriptor(bias_);
  cudnnDestroyFilterDescriptor(weight_);
  cudnnDestroyConvolutionDescriptor(convolution_);
}

// Caffe reshapes before every forward: nothing is done unless the shape is new.
template <typename Dtype>
void CudnnConvolution<Dtype>::Reshape(const ConvolutionShape& shape) {
  if (shaped_ && std::memcmp(&shape, &shape_, sizeof(shape)) == 0) {
    return;
  }
  const cudnnDataType_t type = cudnn::dataType<Dtype>::type;
  cudnn::setTensor4dDesc<Dtype>(&image_, shape.num, shape.channels, shape.height, shape.width);
  cudnn::setTensor4dDesc<Dtype>(&map_, shape.num, shape.num_output, shape.height_out, shape.width_out);
  cudnn::setTensor4dDesc<Dtype>(&bias_, 1, transposed_ ? shape.channels : shape.num_output, 1, 1);
  CUDNN_CHECK(cudnnSetFilter4dDescriptor(weight_, type, CUDNN_TENSOR_NCHW, shape.num_output,
      shape.channels / shape.group, shape.kernel_h, shape.kernel_w));
  CUDNN_CHECK(cudnnSetConvolution2dDescriptor(convolution_, shape.pad_h, shape.pad_w, shape.stride_h, shape.stride_w,
      shape.dilation_h, shape.dilation_w, CUDNN_CROSS_CORRELATION, type));
  CUDNN_CHECK(cudnnSetConvolutionGroupCount(convolution_, shape.group));
  shape_ = shape;
  shaped_ = true;
  chosen_[0] = chosen_[1] = chosen_[2] = false;
}

// The algorithm for a direction, with cuDNN's arithmetic set to it. `result` is overwritten if algorithms are timed.
template <typename Dtype>
template <typename Direction>
const ConvolutionAlgorithm& CudnnConvolution<Dtype>::Choose(const void* first, const void* second, void* result) {
  ConvolutionAlgorithm& algorithm = algorithms_[Direction::kIndex];
  if (!chosen_[Direction::kIndex]) {
    int device;
    CUDA_CHECK(cudaGetDevice(&device));
    const int* sizes = reinterpret_cast<const int*>(&shape_);
    std::vector<int> key(sizes, sizes + sizeof(shape_) / sizeof(int));
    key.push_back(Direction::kIndex);
    key.push_back(sizeof(Dtype));
    key.push_back(device);
    bool known;
    {
      std::lock_guard<std::mutex> lock(choices_mutex);
      const auto place = choices.find(key);
      known = place != choices.end();
      if (known) {
        algorithm = place->second;
      }
    }
    if (!known) {
      const Descriptors descriptors = {image_, map_, weight_, convolution_};
      CUDNN_CHECK(cudnnSetConvolutionMathType(convolution_, Math<Dtype>()));
      typename Direction::Result results[kMostAlgorithms];
      int found = 0;
      CUDNN_CHECK(Direction::Rank(descriptors, kMostAlgorithms, &found, results));
      known = Best<Direction, Dtype>(descriptors, results, found, WorkspaceLimit(), &algorithm);
      if (!DeterministicWanted()) {
        size_t wish = 0;
        for (int i = 0; i < found; ++i) {
          wish = Usable(results[i], WorkspaceLimit()) ? std::max(wish, results[i].memory) : wish;
        }
        const size_t bytes = cudnn::reserveWorkspace(wish);
        CUDNN_CHECK(cudnnSetConvolutionMathType(convolution_, Math<Dtype>()));
        cudnnStatus_t timed = CUDNN_STATUS_SUCCESS;
        for (int i = 0; i < 2 && timed == CUDNN_STATUS_SUCCESS; ++i) {  // at first use CUDA loads the kernels
          timed = Direction::Time(descriptors, first, second, result, kMostAlgorithms, &found, results,
              cudnn::workspace(bytes), bytes);
        }
        if (timed == CUDNN_STATUS_SUCCESS) {
          known = Best<Direction, Dtype>(descriptors, results, found, bytes, &algorithm) || known;
        } else {
          LOG(WARNING) << "cuDNN could not time its algorithms (" << cudnnGetErrorString(timed) << "); its guess is taken";
        }
      }
      CHECK(known) << "cuDNN has no algorithm for a convolution with " << shape_.channels << " channels, "
          << shape_.num_output << " outputs and " << shape_.group << " groups in "
          << (WorkspaceLimit() >> 20) << " MB: raise CAFFE_CUDNN_WORKSPACE_MB, set CAFFE_DETERMINISTIC=0, or give the "
          << "layer engine: CAFFE";
      std::lock_guard<std::mutex> lock(choices_mutex);
      choices[key] = algorithm;
    }
    chosen_[Direction::kIndex] = true;
  }
  CUDNN_CHECK(cudnnSetConvolutionMathType(convolution_, algorithm.math));
  return algorithm;
}

template <typename Dtype>
void CudnnConvolution<Dtype>::ToMap(const Dtype* image, const Dtype* weight, Dtype* map) {
  const ConvolutionAlgorithm& algorithm = Choose<ToMapDirection>(image, weight, map);
  CUDNN_CHECK(cudnnConvolutionForward(cudnn::handle(), cudnn::dataType<Dtype>::one, image_, image, weight_, weight,
      convolution_, static_cast<cudnnConvolutionFwdAlgo_t>(algorithm.number), cudnn::workspace(algorithm.workspace),
      algorithm.workspace, cudnn::dataType<Dtype>::zero, map_, map));
}

template <typename Dtype>
void CudnnConvolution<Dtype>::ToImage(const Dtype* map, const Dtype* weight, Dtype* image) {
  const ConvolutionAlgorithm& algorithm = Choose<ToImageDirection>(map, weight, image);
  CUDNN_CHECK(cudnnConvolutionBackwardData(cudnn::handle(), cudnn::dataType<Dtype>::one, weight_, weight, map_, map,
      convolution_, static_cast<cudnnConvolutionBwdDataAlgo_t>(algorithm.number), cudnn::workspace(algorithm.workspace),
      algorithm.workspace, cudnn::dataType<Dtype>::zero, image_, image));
}

template <typename Dtype>
void CudnnConvolution<Dtype>::Forward(const Dtype* bottom, const Dtype* weight, const Dtype* bias, Dtype* top) {
  if (transposed_) {
    ToImage(bottom, weight, top);
  } else {
    ToMap(bottom, weight, top);
  }
  if (bias != NULL) {
    CUDNN_CHECK(cudnnAddTensor(cudnn::handle(), cudnn::dataType<Dtype>::one, bias_, bias, cudnn::dataType<Dtype>::one,
        transposed_ ? image_ : map_, top));
  }
}

template <typename Dtype>
void CudnnConvolution<Dtype>::BackwardBottom(const Dtype* top_diff, const Dtype* weight, Dtype* bottom_diff) {
  if (transposed_) {
    ToMap(top_diff, weight, bottom_diff);
  } else {
    ToImage(top_diff, weight, bottom_diff);
  }
}

template <typename Dtype>
void CudnnConvolution<Dtype>::BackwardWeight(const Dtype* bottom, const Dtype* top_diff, Dtype* weight_diff) {
  const Dtype* image = transposed_ ? top_diff : bottom;
  const Dtype* map = transposed_ ? bottom : top_diff;
  Dtype* scratch = NULL;  // weight_diff holds sums that timing must not overwrite
  if (!chosen_[ToWeightDirection::kIndex] && !DeterministicWanted()) {
    CUDA_CHECK(cudaMalloc(&scratch, sizeof(Dtype) * shape_.num_output * (shape_.channels / shape_.group) *
        shape_.kernel_h * shape_.kernel_w));
  }
  const ConvolutionAlgorithm& algorithm = Choose<ToWeightDirection>(image, map, scratch);
  if (scratch != NULL) {
    CUDA_CHECK(cudaFree(scratch));
  }
  CUDNN_CHECK(cudnnConvolutionBackwardFilter(cudnn::handle(), cudnn::dataType<Dtype>::one, image_, image, map_, map,
      convolution_, static_cast<cudnnConvolutionBwdFilterAlgo_t>(algorithm.number), cudnn::workspace(algorithm.workspace),
      algorithm.workspace, cudnn::dataType<Dtype>::one, weight_, weight_diff));
}

template <typename Dtype>
void CudnnConvolution<Dtype>::BackwardBias(const Dtype* top_diff, Dtype* bias_diff) {
  CUDNN_CHECK(cudnnConvolutionBackwardBias(cudnn::handle(), cudnn::dataType<Dtype>::one, transposed_ ? image_ : map_,
      top_diff, cudnn::dataType<Dtype>::one, bias_, bias_diff));
}

INSTANTIATE_CLASS(CudnnConvolution);

}  // namespace caffe
#endif  // USE_CUDNN
