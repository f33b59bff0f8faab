#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "caffe/util/batch_sampler.hpp"

namespace caffe {

namespace {

const uint64_t kGolden = 0x9e3779b97f4a7c15ull;

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/// The first `count` of a random order of 0 .. n - 1.
std::vector<int> Draw(int n, int count, BatchRandom* random) {
  std::vector<int> order(n);
  for (int i = 0; i < n; ++i) {
    order[i] = i;
  }
  for (int i = 0; i < count; ++i) {
    std::swap(order[i], order[i + random->Below(n - i)]);
  }
  order.resize(count);
  return order;
}

}  // namespace

BatchRandom::BatchRandom(uint64_t seed, uint64_t batch) : state_(Mix(Mix(seed + kGolden) ^ batch)) {}

int BatchRandom::Below(int n) {
  state_ += kGolden;
  return static_cast<int>((static_cast<unsigned __int128>(Mix(state_)) * n) >> 64);
}

BatchSampler::BatchSampler(const std::vector<Tracklet>& tracklets, int frames, uint64_t seed)
    : frames_(frames), seed_(seed) {
  std::map<int, std::vector<int> > by_pid;
  for (int i = 0; i < tracklets.size(); ++i) {
    by_pid[tracklets[i].pid].push_back(i);
    camid_.push_back(tracklets[i].camid);
    length_.push_back(tracklets[i].frames.size());
  }
  for (const auto& person : by_pid) {
    tracklets_of_.push_back(person.second);
  }
}

std::vector<SampledVideo> BatchSampler::Triplet(uint64_t batch) const {
  BatchRandom random(seed_, batch);
  const std::vector<int> chosen = Draw(persons(), 2, &random);
  std::vector<SampledVideo> videos;
  AddVideos(chosen[0], 2, &random, &videos);
  AddVideos(chosen[1], 1, &random, &videos);
  return videos;
}

std::vector<SampledVideo> BatchSampler::Identities(uint64_t batch, int persons, int videos) const {
  BatchRandom random(seed_, batch);
  std::vector<SampledVideo> result;
  for (int person : Draw(this->persons(), persons, &random)) {
    AddVideos(person, videos, &random, &result);
  }
  return result;
}

void BatchSampler::AddVideos(int person, int videos, BatchRandom* random, std::vector<SampledVideo>* batch) const {
  const std::vector<int>& all = tracklets_of_[person];
  std::set<int> tracklets_taken, cameras_taken;
  for (int k = 0; k < videos; ++k) {
    std::vector<int> other_camera, other_tracklet;
    for (int tracklet : all) {
      if (!cameras_taken.count(camid_[tracklet])) {
        other_camera.push_back(tracklet);
      }
      if (!tracklets_taken.count(tracklet)) {
        other_tracklet.push_back(tracklet);
      }
    }
    const std::vector<int>& candidates =
        !other_camera.empty() ? other_camera : !other_tracklet.empty() ? other_tracklet : all;
    const int tracklet = candidates[random->Below(candidates.size())];
    tracklets_taken.insert(tracklet);
    cameras_taken.insert(camid_[tracklet]);
    batch->push_back(SampledVideo{tracklet, person, Frames(length_[tracklet], random)});
  }
}

std::vector<int> BatchSampler::Frames(int available, BatchRandom* random) const {
  std::vector<int> frames = Draw(available, std::min(available, frames_), random);
  while (frames.size() < frames_) {
    frames.push_back(random->Below(available));
  }
  std::sort(frames.begin(), frames.end());
  return frames;
}

}  // namespace caffe
