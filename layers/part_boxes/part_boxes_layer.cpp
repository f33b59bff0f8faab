#include <algorithm>
#include <cmath>
#include <vector>

#include "caffe/layers/part_boxes_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/refusal.hpp"

namespace caffe {

template <typename Dtype>
void PartBoxesLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const PartBoxesParameter& param = this->layer_param_.part_boxes_param();
  parts_.clear();
  for (const PartBoxesParameter_Part& part : param.part()) {
    parts_.push_back(vector<int>(part.joint().begin(), part.joint().end()));
  }
  if (parts_.empty()) {
    parts_ = {{1, 2, 3, 6}, {2, 3, 6, 9, 12}, {3, 4, 5}, {6, 7, 8}, {12, 13, 14}, {9, 10, 11}};
  }
  LAYER_REQUIRE(parts_.size() == top.size()) << "there are " << parts_.size() << " parts but " << top.size()
      << " tops; give one top for each part";
  for (int r = 0; r < parts_.size(); ++r) {
    LAYER_REQUIRE(!parts_[r].empty()) << "part " << r + 1 << " lists no joint";
    for (int& joint : parts_[r]) {
      LAYER_REQUIRE(joint >= 1) << "part " << r + 1 << " lists joint " << joint << ", but joints count from 1";
      --joint;
    }
  }
  LAYER_REQUIRE(param.grow() >= 0 && param.min_side() >= 0) << "grow and min_side must not be negative";
  rule_.grow = param.grow();
  rule_.min_side = param.min_side();
  rule_.clip[0] = param.clip_width();
  rule_.clip[1] = param.clip_height();
  vector<int> lists(1, 0);
  for (const vector<int>& part : parts_) {
    lists.push_back(lists.back() + part.size());
  }
  for (const vector<int>& part : parts_) {
    lists.insert(lists.end(), part.begin(), part.end());
  }
  part_lists_.Reshape(vector<int>(1, lists.size()));
  std::copy(lists.begin(), lists.end(), part_lists_.mutable_cpu_data());
}

template <typename Dtype>
void PartBoxesLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  LAYER_REQUIRE(bottom[0]->num_axes() == 3 && bottom[0]->shape(2) == 3)
      << "the joints must be F x J x 3, not " << bottom[0]->shape_string();
  for (int r = 0; r < parts_.size(); ++r) {
    for (int joint : parts_[r]) {
      LAYER_REQUIRE(joint < bottom[0]->shape(1)) << "part " << r + 1 << " lists joint " << joint + 1
          << ", but joints are 1 .. " << bottom[0]->shape(1) << " of the bottom " << bottom[0]->shape_string();
    }
  }
  const int shape[] = {bottom[0]->shape(0), 5};
  for (Blob<Dtype>* boxes : top) {
    boxes->Reshape(vector<int>(shape, shape + 2));
  }
}

template <typename Dtype>
void PartBoxesLayer<Dtype>::RequireNumbers(const Blob<Dtype>& joints) const {
  const Dtype* values = joints.cpu_data();
  for (int f = 0; f < joints.shape(0); ++f) {
    for (const vector<int>& part : parts_) {
      for (int joint : part) {
        for (int axis = 0; axis < 2; ++axis) {
          const Dtype value = values[(f * joints.shape(1) + joint) * 3 + axis];
          LAYER_REQUIRE(std::isfinite(value)) << "joint " << joint + 1 << " has coordinate " << value
              << "; check the joints file";
        }
      }
    }
  }
}

template <typename Dtype>
void PartBoxesLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const int F = bottom[0]->shape(0), J = bottom[0]->shape(1);
  RequireNumbers(*bottom[0]);
  for (int r = 0; r < parts_.size(); ++r) {
    Dtype* boxes = top[r]->mutable_cpu_data();
    for (int f = 0; f < F; ++f) {
      boxes[f * 5] = f;
      for (int axis = 0; axis < 2; ++axis) {
        const PartExtent<Dtype> extent =
            rule_.Extent(bottom[0]->cpu_data() + f * J * 3, parts_[r].data(), parts_[r].size(), axis);
        boxes[f * 5 + 1 + axis] = extent.edge[0];
        boxes[f * 5 + 3 + axis] = extent.edge[1];
      }
    }
  }
}

template <typename Dtype>
void PartBoxesLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  if (!propagate_down[0]) {
    return;
  }
  const int F = bottom[0]->shape(0), J = bottom[0]->shape(1);
  Dtype* diff = bottom[0]->mutable_cpu_diff();
  caffe_set(bottom[0]->count(), Dtype(0), diff);
  for (int r = 0; r < parts_.size(); ++r) {
    for (int f = 0; f < F; ++f) {
      for (int axis = 0; axis < 2; ++axis) {
        const PartExtent<Dtype> extent =
            rule_.Extent(bottom[0]->cpu_data() + f * J * 3, parts_[r].data(), parts_[r].size(), axis);
        for (int e = 0; e < 2; ++e) {
          const Dtype g = top[r]->cpu_diff()[f * 5 + 1 + 2 * e + axis];
          for (int end = 0; end < 2; ++end) {
            diff[(f * J + extent.joint[end]) * 3 + axis] += g * extent.slope[e][end];
          }
        }
      }
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(PartBoxesLayer);
#endif

INSTANTIATE_CLASS(PartBoxesLayer);
REGISTER_LAYER_CLASS(PartBoxes);

}  // namespace caffe
