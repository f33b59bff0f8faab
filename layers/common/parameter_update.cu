#include <algorithm>
#include <vector>

#include "caffe/util/parameter_update.hpp"

namespace caffe {

namespace {

const int kTogether = 48;  // 40 to 48 bytes each; a kernel's arguments may take 4 KB

template <typename Dtype>
struct Parameter {
  Dtype* data;
  Dtype* diff;
  Dtype* history;
  int count;
  Dtype decay, rate;
};

template <typename Dtype>
struct Parameters {
  Parameter<Dtype> at[kTogether];
};

}  // namespace

// Parameter blockIdx.y is shared by gridDim.x blocks.
template <typename Dtype>
__global__ void SGDUpdateTogether(const Parameters<Dtype> parameters, const Dtype momentum, const Dtype normalization) {
  const Parameter<Dtype>& parameter = parameters.at[blockIdx.y];
  CUDA_KERNEL_LOOP(i, parameter.count) {
    const Dtype gradient = normalization * parameter.diff[i] + parameter.decay * parameter.data[i];
    const Dtype step = momentum * parameter.history[i] + parameter.rate * gradient;
    parameter.history[i] = parameter.diff[i] = step;
    parameter.data[i] -= step;
  }
}

template <typename Dtype>
__global__ void ClearDiffsTogether(const Parameters<Dtype> parameters) {
  const Parameter<Dtype>& parameter = parameters.at[blockIdx.y];
  CUDA_KERNEL_LOOP(i, parameter.count) {
    parameter.diff[i] = 0;
  }
}

// A grid for parameters of at most `largest` values: small ones leave most of their blocks without work.
static dim3 GridTogether(int parameters, int largest) {
  const int kBlocks = 64;
  return dim3(std::min(kBlocks, CAFFE_GET_BLOCKS(largest)), parameters);
}

template <typename Dtype>
void sgd_update_together_gpu(const vector<Blob<Dtype>*>& params, const vector<shared_ptr<Blob<Dtype> > >& histories,
    const vector<Dtype>& decays, const vector<Dtype>& rates, Dtype momentum, Dtype normalization) {
  for (int first = 0; first < params.size(); first += kTogether) {
    Parameters<Dtype> parameters = {};
    const int number = std::min<int>(kTogether, params.size() - first);
    int largest = 1;
    for (int i = 0; i < number; ++i) {
      Blob<Dtype>* blob = params[first + i];
      const Parameter<Dtype> parameter = {blob->mutable_gpu_data(), blob->mutable_gpu_diff(),
          histories[first + i]->mutable_gpu_data(), blob->count(), decays[first + i], rates[first + i]};
      parameters.at[i] = parameter;
      largest = std::max(largest, blob->count());
    }
    SGDUpdateTogether<Dtype>  // NOLINT_NEXT_LINE(whitespace/operators)
        <<<GridTogether(number, largest), CAFFE_CUDA_NUM_THREADS>>>(parameters, momentum, normalization);
    CUDA_POST_KERNEL_CHECK;
  }
}

template <typename Dtype>
void clear_diffs_together_gpu(const vector<Blob<Dtype>*>& params) {
  for (int first = 0; first < params.size(); first += kTogether) {
    Parameters<Dtype> parameters = {};
    const int number = std::min<int>(kTogether, params.size() - first);
    int largest = 1;
    for (int i = 0; i < number; ++i) {
      parameters.at[i].diff = params[first + i]->mutable_gpu_diff();
      parameters.at[i].count = params[first + i]->count();
      largest = std::max(largest, params[first + i]->count());
    }
    ClearDiffsTogether<Dtype>  // NOLINT_NEXT_LINE(whitespace/operators)
        <<<GridTogether(number, largest), CAFFE_CUDA_NUM_THREADS>>>(parameters);
    CUDA_POST_KERNEL_CHECK;
  }
}

template void sgd_update_together_gpu<float>(const vector<Blob<float>*>&, const vector<shared_ptr<Blob<float> > >&,
    const vector<float>&, const vector<float>&, float, float);
template void sgd_update_together_gpu<double>(const vector<Blob<double>*>&, const vector<shared_ptr<Blob<double> > >&,
    const vector<double>&, const vector<double>&, double, double);
template void clear_diffs_together_gpu<float>(const vector<Blob<float>*>&);
template void clear_diffs_together_gpu<double>(const vector<Blob<double>*>&);

}  // namespace caffe
