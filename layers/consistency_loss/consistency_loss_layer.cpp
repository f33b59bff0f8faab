#include <algorithm>
#include <cmath>
#include <vector>

#include "caffe/filler.hpp"
#include "caffe/layers/consistency_loss_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

template <typename Dtype>
void ConsistencyLossLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LossLayer<Dtype>::LayerSetUp(bottom, top);
  const ConsistencyLossParameter& param = this->layer_param_.consistency_loss_param();
  input_ = param.input();
  K_ = param.num_output();
  LAYER_REQUIRE(K_ > 0) << "consistency_loss_param needs num_output, the number of identities trained on";
  const LossParameter_NormalizationMode mode = this->layer_param_.loss_param().normalization();
  LAYER_REQUIRE(mode == LossParameter_NormalizationMode_VALID || mode == LossParameter_NormalizationMode_NONE)
      << "normalization must be VALID (the mean) or NONE (the sum)";
  if (input_ == ConsistencyLossParameter_Input_AGGREGATED) {
    LAYER_REQUIRE(bottom.size() == 2 && bottom[0]->num_axes() == 3)
        << "AGGREGATED takes two bottoms: parts (V x R x C) and labels";
    R_ = bottom[0]->shape(1);
    C_ = bottom[0]->shape(2);
    T_ = 1;
    label_ = 1;
  } else {
    const int others = input_ == ConsistencyLossParameter_Input_WEIGHTED_FRAMES ? 2 : 1;
    R_ = bottom.size() - others;
    LAYER_REQUIRE(R_ > 0) << "the features of at least one part must come before the labels"
        << (others == 2 ? " and the scores" : "");
    C_ = bottom[0]->count(1);
    T_ = param.frames();
    LAYER_REQUIRE(T_ > 0) << "frames must be at least 1";
    label_ = R_;
  }
  const int shape[] = {R_, K_, C_};
  const vector<int> weight_shape(shape, shape + 3);
  if (this->blobs_.empty()) {
    this->blobs_.resize(1);
    this->blobs_[0].reset(new Blob<Dtype>(weight_shape));
    // A filler takes a blob's fan-in from its first axis, so each part's matrix is filled as one of its own.
    Blob<Dtype> matrix(vector<int>(shape + 1, shape + 3));
    shared_ptr<Filler<Dtype> > filler(GetFiller<Dtype>(param.weight_filler()));
    for (int r = 0; r < R_; ++r) {
      filler->Fill(&matrix);
      caffe_copy(matrix.count(), matrix.cpu_data(), this->blobs_[0]->mutable_cpu_data() + r * matrix.count());
    }
  }
  LAYER_REQUIRE(this->blobs_[0]->shape() == weight_shape) << "the given softmax matrices have shape "
      << this->blobs_[0]->shape_string() << ", not " << R_ << " x " << K_ << " x " << C_;
  this->param_propagate_down_.resize(1, true);
}

template <typename Dtype>
void ConsistencyLossLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  rows_ = bottom[0]->shape(0);
  LAYER_REQUIRE(rows_ % T_ == 0) << "the features have " << rows_ << " rows, not a multiple of frames " << T_;
  const int V = rows_ / T_;
  if (input_ == ConsistencyLossParameter_Input_AGGREGATED) {
    LAYER_REQUIRE(bottom[0]->num_axes() == 3 && bottom[0]->shape(1) == R_ && bottom[0]->shape(2) == C_)
        << "the parts have shape " << bottom[0]->shape_string() << ", not V x " << R_ << " x " << C_;
  } else {
    for (int r = 0; r < R_; ++r) {
      LAYER_REQUIRE(bottom[r]->shape(0) == rows_ && bottom[r]->count(1) == C_) << "features " << r + 1
          << " have shape " << bottom[r]->shape_string() << ", not " << rows_ << " rows of " << C_;
    }
  }
  LAYER_REQUIRE(bottom[label_]->count() == V) << "there are " << bottom[label_]->count() << " labels for " << V
      << " videos";
  if (input_ == ConsistencyLossParameter_Input_WEIGHTED_FRAMES) {
    LAYER_REQUIRE(bottom[R_ + 1]->shape(0) == rows_ && bottom[R_ + 1]->count(1) == R_) << "the scores have shape "
        << bottom[R_ + 1]->shape_string() << ", not " << rows_ << " rows of " << R_;
  }
  top[0]->Reshape(vector<int>());
  const int shape[] = {R_, rows_, K_}, video_shape[] = {R_, V}, gathered_shape[] = {rows_, C_};
  probability_.Reshape(vector<int>(shape, shape + 3));
  logit_diff_.Reshape(vector<int>(shape + 1, shape + 3));
  row_loss_.Reshape(vector<int>(shape, shape + 2));
  factor_.Reshape(vector<int>(shape, shape + 2));
  score_sum_.Reshape(vector<int>(video_shape, video_shape + 2));
  gathered_.Reshape(vector<int>(gathered_shape, gathered_shape + 2));
}

template <typename Dtype>
const Dtype* ConsistencyLossLayer<Dtype>::PartFeatures(const vector<Blob<Dtype>*>& bottom, int r) {
  if (input_ != ConsistencyLossParameter_Input_AGGREGATED) {
    return bottom[r]->cpu_data();
  }
  for (int v = 0; v < rows_; ++v) {
    caffe_copy(C_, bottom[0]->cpu_data() + (v * R_ + r) * C_, gathered_.mutable_cpu_data() + v * C_);
  }
  return gathered_.cpu_data();
}

template <typename Dtype>
void ConsistencyLossLayer<Dtype>::RequireLabels(const Dtype* label) const {
  for (int v = 0; v < rows_ / T_; ++v) {
    LAYER_REQUIRE(label[v] >= 0 && label[v] < K_ && label[v] == std::floor(label[v])) << "label " << label[v]
        << " is none of 0 .. " << K_ - 1 << "; set num_output to the number of identities in the list";
  }
}

template <typename Dtype>
Dtype ConsistencyLossLayer<Dtype>::Scale() const {
  const bool mean = this->layer_param_.loss_param().normalization() == LossParameter_NormalizationMode_VALID;
  const bool weighted = input_ == ConsistencyLossParameter_Input_WEIGHTED_FRAMES;
  return mean ? Dtype(1) / ((weighted ? rows_ / T_ : rows_) * R_) : Dtype(1);
}

template <typename Dtype>
void ConsistencyLossLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int V = rows_ / T_;
  const Dtype* label = bottom[label_]->cpu_data();
  RequireLabels(label);
  const bool weighted = input_ == ConsistencyLossParameter_Input_WEIGHTED_FRAMES;
  const Dtype scale = Scale();
  Dtype loss = 0;
  for (int r = 0; r < R_; ++r) {
    Dtype* p = probability_.mutable_cpu_data() + r * rows_ * K_;
    caffe_cpu_gemm<Dtype>(CblasNoTrans, CblasTrans, rows_, K_, C_, 1, PartFeatures(bottom, r),
        this->blobs_[0]->cpu_data() + r * K_ * C_, 0, p);
    for (int row = 0; row < rows_; ++row, p += K_) {
      const int v = row / T_;
      const Dtype largest = *std::max_element(p, p + K_), logit = p[static_cast<int>(label[v])];
      Dtype sum = 0;
      for (int k = 0; k < K_; ++k) {
        p[k] = std::exp(p[k] - largest);
        sum += p[k];
      }
      caffe_scal(K_, 1 / sum, p);
      row_loss_.mutable_cpu_data()[r * rows_ + row] = std::log(sum) + largest - logit;
      if (weighted && row % T_ == 0) {
        Dtype score_sum = 0;
        for (int t = 0; t < T_; ++t) {
          score_sum += bottom[R_ + 1]->cpu_data()[(row + t) * R_ + r];
        }
        score_sum_.mutable_cpu_data()[r * V + v] = score_sum > 0 ? score_sum : Dtype(0);
      }
      Dtype factor = scale;
      if (weighted) {
        const Dtype score_sum = score_sum_.cpu_data()[r * V + v];
        factor *= score_sum > 0 ? bottom[R_ + 1]->cpu_data()[row * R_ + r] / score_sum : Dtype(1) / T_;
      }
      factor_.mutable_cpu_data()[r * rows_ + row] = factor;
      loss += factor * row_loss_.cpu_data()[r * rows_ + row];
    }
  }
  top[0]->mutable_cpu_data()[0] = loss;
}

template <typename Dtype>
void ConsistencyLossLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  LAYER_REQUIRE(!propagate_down[label_]) << "a label has no gradient";
  const bool aggregated = input_ == ConsistencyLossParameter_Input_AGGREGATED;
  const bool weighted = input_ == ConsistencyLossParameter_Input_WEIGHTED_FRAMES;
  const Dtype loss_weight = top[0]->cpu_diff()[0];
  const Dtype* label = bottom[label_]->cpu_data();
  for (int r = 0; r < R_; ++r) {
    Dtype* logit_diff = logit_diff_.mutable_cpu_data();
    const Dtype* factor = factor_.cpu_data() + r * rows_;
    caffe_copy(rows_ * K_, probability_.cpu_data() + r * rows_ * K_, logit_diff);
    for (int row = 0; row < rows_; ++row) {
      logit_diff[row * K_ + static_cast<int>(label[row / T_])] -= 1;
      caffe_scal(K_, loss_weight * factor[row], logit_diff + row * K_);
    }
    const int matrix = r * K_ * C_;
    if (this->param_propagate_down_[0]) {
      caffe_cpu_gemm<Dtype>(CblasTrans, CblasNoTrans, K_, C_, rows_, 1, logit_diff, PartFeatures(bottom, r), 1,
          this->blobs_[0]->mutable_cpu_diff() + matrix);
    }
    if (propagate_down[aggregated ? 0 : r]) {
      Dtype* df = aggregated ? gathered_.mutable_cpu_diff() : bottom[r]->mutable_cpu_diff();
      caffe_cpu_gemm<Dtype>(CblasNoTrans, CblasNoTrans, rows_, C_, K_, 1, logit_diff,
          this->blobs_[0]->cpu_data() + matrix, 0, df);
      for (int v = 0; aggregated && v < rows_; ++v) {
        caffe_copy(C_, df + v * C_, bottom[0]->mutable_cpu_diff() + (v * R_ + r) * C_);
      }
    }
    if (weighted && propagate_down[R_ + 1]) {
      const int V = rows_ / T_;
      const Dtype scale = loss_weight * Scale();
      const Dtype* loss = row_loss_.cpu_data() + r * rows_;
      for (int v = 0; v < V; ++v) {
        const Dtype score_sum = score_sum_.cpu_data()[r * V + v];
        Dtype average = 0;  // of the row losses, by the scores
        for (int t = 0; t < T_; ++t) {
          average += bottom[R_ + 1]->cpu_data()[(v * T_ + t) * R_ + r] * loss[v * T_ + t];
        }
        for (int t = 0; t < T_; ++t) {
          bottom[R_ + 1]->mutable_cpu_diff()[(v * T_ + t) * R_ + r] =
              score_sum > 0 ? scale * (loss[v * T_ + t] - average / score_sum) / score_sum : Dtype(0);
        }
      }
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(ConsistencyLossLayer);
#endif

INSTANTIATE_CLASS(ConsistencyLossLayer);
REGISTER_LAYER_CLASS(ConsistencyLoss);

}  // namespace caffe
