#ifndef CAFFE_UTIL_BATCH_SAMPLER_HPP_
#define CAFFE_UTIL_BATCH_SAMPLER_HPP_

#include <stdint.h>

#include <vector>

#include "caffe/util/tracklet_list.hpp"

namespace caffe {

/// Random numbers that are a function of (seed, batch) alone: SplitMix64 from a state mixed of both.
class BatchRandom {
 public:
  BatchRandom(uint64_t seed, uint64_t batch);
  /// Uniform in 0 .. n - 1.
  int Below(int n);

 private:
  uint64_t state_;
};

/// One video of a batch: a tracklet, by its place in the list, its person's label, and the frames chosen, in time order.
struct SampledVideo {
  int tracklet, label;
  std::vector<int> frames;
};

/**
 * @brief Chooses what each batch of a training run reads.
 *
 * A triplet is an anchor and a positive of one person and a negative of another one, persons drawn uniformly. A further
 * video of a person comes from a camera not yet taken if there is one, else from a tracklet not yet taken, else from any.
 * From each tracklet T frames are drawn without repetition; a tracklet with fewer gives all of them and repeats random
 * ones (section IV-D.4 completes short sequences so).
 */
class BatchSampler {
 public:
  /// Labels are the places of the pids in their sorted order.
  BatchSampler(const std::vector<Tracklet>& tracklets, int frames, uint64_t seed);

  int persons() const { return tracklets_of_.size(); }
  /// Anchor, positive, negative. Needs two persons.
  std::vector<SampledVideo> Triplet(uint64_t batch) const;
  /// `videos` videos of each of `persons` different persons, person by person.
  std::vector<SampledVideo> Identities(uint64_t batch, int persons, int videos) const;

 private:
  /// `videos` videos of one person.
  void AddVideos(int person, int videos, BatchRandom* random, std::vector<SampledVideo>* batch) const;
  std::vector<int> Frames(int available, BatchRandom* random) const;

  std::vector<std::vector<int> > tracklets_of_;  // of each person, places in the list
  std::vector<int> camid_, length_;              // of each tracklet
  int frames_;
  uint64_t seed_;
};

}  // namespace caffe

#endif  // CAFFE_UTIL_BATCH_SAMPLER_HPP_
