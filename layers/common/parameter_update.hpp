#ifndef CAFFE_UTIL_PARAMETER_UPDATE_HPP_
#define CAFFE_UTIL_PARAMETER_UPDATE_HPP_
#ifndef CPU_ONLY

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/common.hpp"

namespace caffe {

/**
 * @brief What SGDSolver does to each parameter, 48 parameters a launch instead of three launches a parameter: with
 *        g = diff * normalization + decay * data, history = momentum * history + rate * g; data -= history. As in Caffe,
 *        the diff holds the step afterwards.
 *
 * @param histories blobs like the parameters
 * @param decays,rates one a parameter
 */
template <typename Dtype>
void sgd_update_together_gpu(const vector<Blob<Dtype>*>& params, const vector<shared_ptr<Blob<Dtype> > >& histories,
    const vector<Dtype>& decays, const vector<Dtype>& rates, Dtype momentum, Dtype normalization);

/// Sets the diffs to 0, 48 parameters a launch.
template <typename Dtype>
void clear_diffs_together_gpu(const vector<Blob<Dtype>*>& params);

}  // namespace caffe

#endif  // CPU_ONLY
#endif  // CAFFE_UTIL_PARAMETER_UPDATE_HPP_
