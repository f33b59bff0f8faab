// NCCL among the threads of one process: each brings its buffers, the last to come does the work for all.
#include "nccl.h"

#include <string.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "emulation.h"

namespace {

/// What one rank brings to a call.
struct Part {
  const char* call = nullptr;
  const void* from = nullptr;
  void* to = nullptr;
  size_t count = 0;
  ncclDataType_t type = ncclFloat;
  int root = 0;
};

/// The ranks that call one another.
struct Clique {
  explicit Clique(int ranks) : parts(ranks) {}
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Part> parts;
  size_t arrived = 0, round = 0;
  ncclResult_t result = ncclSuccess;

  /// Waits until all ranks have come; the last one calls `work`, whose result all get.
  ncclResult_t meet(const std::function<ncclResult_t()>& work) {
    std::unique_lock<std::mutex> lock(mutex);
    const size_t mine = round;
    if (++arrived == parts.size()) {
      result = work();
      arrived = 0;
      ++round;
      changed.notify_all();
    } else if (!changed.wait_for(lock, std::chrono::minutes(10), [&] { return round != mine; })) {
      emulation::die("NCCL: %zu of %zu ranks came within 10 minutes; all must be threads of one process", arrived,
                     parts.size());
    }
    return result;
  }
};

std::mutex cliques_mutex;
std::map<std::string, std::weak_ptr<Clique>> cliques;  // by unique id

template <typename T>
void sum(const std::vector<Part>& parts) {
  std::vector<T> total(static_cast<const T*>(parts[0].from), static_cast<const T*>(parts[0].from) + parts[0].count);
  for (size_t rank = 1; rank < parts.size(); ++rank) {
    for (size_t i = 0; i < total.size(); ++i) total[i] += static_cast<const T*>(parts[rank].from)[i];
  }
  for (const Part& part : parts) memcpy(part.to, total.data(), total.size() * sizeof(T));
}

size_t bytes(const Part& part) { return part.count * (part.type == ncclDouble ? sizeof(double) : sizeof(float)); }

}  // namespace

struct EmulatedRank {
  std::shared_ptr<Clique> clique;
  int number;
};

namespace {

ncclResult_t together(ncclComm_t rank, Part part, void (*work)(const std::vector<Part>&)) {
  emulation::count(part.call);
  if (!rank) return ncclInvalidArgument;
  if (part.count) {
    part.from = emulation::real(part.call, "the data sent", part.from, bytes(part));
    part.to = emulation::real(part.call, "the data received", part.to, bytes(part));
  }
  std::vector<Part>& parts = rank->clique->parts;
  parts[rank->number] = part;
  return rank->clique->meet([&] {
    for (const Part& other : parts) {
      if (strcmp(other.call, part.call) || other.count != part.count || other.type != part.type ||
          other.root != part.root) {
        return ncclInvalidUsage;
      }
    }
    if (part.count) work(parts);
    return ncclSuccess;
  });
}

}  // namespace

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclSuccess ? "no error" :
      result == ncclInvalidArgument ? "invalid argument" : "the ranks called different things";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static int last = 0;
  std::lock_guard<std::mutex> lock(cliques_mutex);
  memset(id->internal, 0, sizeof(id->internal));
  const std::string name = "emulated-" + std::to_string(++last);
  memcpy(id->internal, name.data(), name.size());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* rank, int ranks, ncclUniqueId id, int number) {
  if (number < 0 || number >= ranks) return ncclInvalidArgument;
  *rank = new EmulatedRank{nullptr, number};
  {
    std::lock_guard<std::mutex> lock(cliques_mutex);
    std::weak_ptr<Clique>& known = cliques[id.internal];
    (*rank)->clique = known.lock();
    if (!(*rank)->clique) known = (*rank)->clique = std::make_shared<Clique>(ranks);
  }
  if ((*rank)->clique->parts.size() != size_t(ranks)) return ncclInvalidArgument;
  return (*rank)->clique->meet([] { return ncclSuccess; });
}

ncclResult_t ncclCommInitAll(ncclComm_t* ranks, int count, const int*) {
  const auto clique = std::make_shared<Clique>(count);
  for (int number = 0; number < count; ++number) ranks[number] = new EmulatedRank{clique, number};
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t rank) {
  delete rank;
  return ncclSuccess;
}

ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root, ncclComm_t rank,
                           cudaStream_t) {
  return together(rank, Part{"ncclBroadcast", from, to, count, type, root}, [](const std::vector<Part>& parts) {
    const Part& source = parts[parts[0].root];
    for (const Part& part : parts) memmove(part.to, source.from, bytes(part));
  });
}

ncclResult_t ncclBcast(void* data, size_t count, ncclDataType_t type, int root, ncclComm_t rank, cudaStream_t stream) {
  return ncclBroadcast(data, data, count, type, root, rank, stream);
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t rank, cudaStream_t) {
  if (op != ncclSum) return ncclInvalidArgument;
  return together(rank, Part{"ncclAllReduce", from, to, count, type, 0}, [](const std::vector<Part>& parts) {
    parts[0].type == ncclDouble ? sum<double>(parts) : sum<float>(parts);
  });
}
