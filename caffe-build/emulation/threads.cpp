// The threads of a grid, on the calling thread: blocks one after another, the threads of a block on fibers.
//
// A fiber is a stack. It runs thread after thread, so a block without barriers needs one; a thread that waits keeps the
// fiber, and another goes on with the next thread. Warps run one after another between barriers of the block, so that a
// result which hangs on how far another warp is differs between orders (STAL_EMULATION_ORDER).
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "emulation_kernel.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

__thread uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

namespace {

const size_t kStackBytes = 256 * 1024;

/// A stack and where it stopped.
struct Context {
  void* registers[5];
  const void* stack = nullptr;  // of the first context: as the sanitizer says
  size_t stack_bytes = 0;
  void* shadow = nullptr;
};

struct Fiber : Context {
  ucontext_t beginning;
  bool started = false;
  unsigned thread = 0;  // that waits on this fiber
  Meeting meeting = kSyncWarp;
  unsigned mask = 0;
  int source = 0;
  uint64_t value = 0, received = 0;

  explicit Fiber(size_t number) {
    stack_bytes = kStackBytes - number % 64 * 320;  // stacks of one alignment share a few cache lines
    stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) die("no memory for the stack of a fiber");
    mprotect(const_cast<void*>(stack), 4096, PROT_NONE);  // a kernel that overflows it faults
  }
  ~Fiber() { munmap(const_cast<void*>(stack), kStackBytes); }
};

enum Order { kForward, kReverse, kShuffle };

/// The grid that an OS thread runs: one at a time.
class Grid {
 public:
  Grid();
  void run(const char* kernel, const Configuration& configuration, const std::function<void()>& thread);
  void live();  // of a fiber
  void sync_threads();
  uint64_t meet(Meeting meeting, unsigned mask, int source, uint64_t value);
  void* dynamic_shared() const { return shared_; }
  void fresh(void* variable, size_t bytes);

 private:
  void run_block();
  bool next_belongs_to_warp() const;
  void resume(Fiber* fiber);
  void wait(std::vector<Fiber*>* where);
  void release_warp();
  void release_block();
  void set_thread(unsigned thread);
  std::vector<unsigned> ordered(unsigned first, unsigned count);
  void order_threads();
  std::string block_name() const;

  Order kind_of_order_;
  std::mt19937 random_;
  const char* kernel_ = nullptr;
  const std::function<void()>* thread_ = nullptr;
  void* shared_ = nullptr;
  std::vector<void*> filled_;       // the block's shared variables that were filled
  std::vector<unsigned> order_;     // of the block's threads, warp by warp
  size_t next_ = 0;                 // place in order_ of the thread to start or to resume next
  unsigned warp_ = 0;               // that runs
  std::vector<Fiber*> suspended_;   // by thread: it waited at a barrier of the block that has opened
  std::deque<Fiber*> ready_;        // lanes of the warp that have met
  std::vector<Fiber*> lanes_;       // lanes of the warp that wait for others
  std::vector<Fiber*> barrier_;     // threads that wait at __syncthreads
  std::vector<Fiber*> idle_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  Context main_;
  Fiber* running_ = nullptr;
};

Grid& grid() {
  static thread_local Grid the;
  return the;
}

/// Leaves `from`, to go on there when a change comes back, for `to`. The C library's longjmp would do, but AddressSanitizer
/// clears a whole stack's shadow at each, which made it fifteen times slower.
__attribute__((no_sanitize("address"))) void change(Context* from, Context* to, ucontext_t* beginning = nullptr) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&from->shadow, to->stack, to->stack_bytes);
#endif
  if (__builtin_setjmp(from->registers) == 0) {
    if (beginning) setcontext(beginning);
    __builtin_longjmp(to->registers, 1);
  }
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(from->shadow, nullptr, nullptr);
#endif
}

void begin_fiber() { grid().live(); }

Grid::Grid() {
  const char* value = getenv("STAL_EMULATION_ORDER");
  const std::string name = value ? value : "forward";
  const bool shuffle = name == "shuffle" || name.compare(0, 8, "shuffle:") == 0;
  if (!shuffle && name != "forward" && name != "reverse") {
    die("STAL_EMULATION_ORDER=%s is none of forward, reverse, shuffle, shuffle:SEED", value);
  }
  kind_of_order_ = shuffle ? kShuffle : name == "reverse" ? kReverse : kForward;
  random_.seed(name.size() > 8 && shuffle ? atoi(name.c_str() + 8) : 0);
}

/// The numbers from `first` on in the order that was asked for.
std::vector<unsigned> Grid::ordered(unsigned first, unsigned count) {
  std::vector<unsigned> result(count);
  std::iota(result.begin(), result.end(), first);
  if (kind_of_order_ == kReverse) std::reverse(result.begin(), result.end());
  if (kind_of_order_ == kShuffle) std::shuffle(result.begin(), result.end(), random_);
  return result;
}

void Grid::order_threads() {
  const unsigned count = blockDim.x * blockDim.y * blockDim.z;
  order_.clear();
  for (unsigned warp : ordered(0, (count + 31) / 32)) {
    const std::vector<unsigned> threads = ordered(32 * warp, std::min(32u, count - 32 * warp));
    order_.insert(order_.end(), threads.begin(), threads.end());
  }
}

void Grid::run(const char* kernel, const Configuration& c, const std::function<void()>& thread) {
  if (running_) die("%s: a kernel launches a kernel", kernel);
  kernel_ = kernel;
  thread_ = &thread;
  gridDim = c.grid;
  blockDim = c.block;
  order_threads();
  suspended_.assign(order_.size(), nullptr);
  for (unsigned block : ordered(0, c.grid.x * c.grid.y * c.grid.z)) {
    blockIdx = {block % c.grid.x, block / c.grid.x % c.grid.y, block / c.grid.x / c.grid.y};
    if (kind_of_order_ == kShuffle) order_threads();
    if (c.shared) {  // of its own size, so that AddressSanitizer sees its end
      if (posix_memalign(&shared_, 256, c.shared)) die("no memory for a block's shared memory");
      memset(shared_, 0xff, c.shared);
    }
    run_block();
    free(shared_);
    shared_ = nullptr;
  }
}

void Grid::fresh(void* variable, size_t bytes) {
  if (std::find(filled_.begin(), filled_.end(), variable) != filled_.end()) return;
  filled_.push_back(variable);
  memset(variable, 0xff, bytes);
}

void Grid::run_block() {
  next_ = 0;
  filled_.clear();
  for (;;) {
    if (!ready_.empty()) {
      Fiber* fiber = ready_.front();
      ready_.pop_front();
      resume(fiber);
    } else if (next_ < order_.size() && (lanes_.empty() || next_belongs_to_warp())) {
      const unsigned thread = order_[next_];
      warp_ = thread / 32;
      if (Fiber* fiber = suspended_[thread]) {
        suspended_[thread] = nullptr;
        ++next_;
        resume(fiber);
      } else {
        if (idle_.empty()) {
          fibers_.emplace_back(new Fiber(fibers_.size()));
          idle_.push_back(fibers_.back().get());
        }
        fiber = idle_.back();
        idle_.pop_back();
        resume(fiber);
      }
    } else if (!lanes_.empty()) {
      release_warp();
    } else if (!barrier_.empty()) {
      release_block();
    } else {
      return;
    }
  }
}

bool Grid::next_belongs_to_warp() const { return order_[next_] / 32 == warp_; }

void Grid::live() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &main_.stack, &main_.stack_bytes);
#endif
  for (;;) {
    while (ready_.empty() && next_ < order_.size() && !suspended_[order_[next_]] &&
           (lanes_.empty() || next_belongs_to_warp())) {
      running_->thread = order_[next_++];
      warp_ = running_->thread / 32;
      set_thread(running_->thread);
      (*thread_)();
    }
    idle_.push_back(running_);
    change(running_, &main_);
  }
}

void Grid::resume(Fiber* fiber) {
  running_ = fiber;
  set_thread(fiber->thread);
  if (fiber->started) {
    change(&main_, fiber);
  } else {
    fiber->started = true;
    getcontext(&fiber->beginning);
    fiber->beginning.uc_stack.ss_sp = const_cast<void*>(fiber->stack);
    fiber->beginning.uc_stack.ss_size = fiber->stack_bytes;
    fiber->beginning.uc_link = nullptr;
    makecontext(&fiber->beginning, begin_fiber, 0);
    change(&main_, fiber, &fiber->beginning);
  }
  running_ = nullptr;
}

void Grid::set_thread(unsigned thread) {
  if (thread < blockDim.x) {  // the divisions below are slow
    threadIdx = {thread, 0, 0};
    return;
  }
  threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y};
}

void Grid::wait(std::vector<Fiber*>* where) {
  if (!running_) die("a barrier or a shuffle is called outside a kernel");
  where->push_back(running_);
  change(running_, &main_);
}

void Grid::sync_threads() { wait(&barrier_); }

uint64_t Grid::meet(Meeting meeting, unsigned mask, int source, uint64_t value) {
  if (running_) {
    running_->meeting = meeting;
    running_->mask = mask;
    running_->source = source;
    running_->value = value;
  }
  wait(&lanes_);
  return running_->received;
}

std::string Grid::block_name() const {
  return std::string("kernel ") + kernel_ + ", block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) +
      ", " + std::to_string(blockIdx.z) + ")";
}

/// Lets the lanes go on that wait for one another, if all lanes that one of them waits for are there.
void Grid::release_warp() {
  for (const Fiber* first : std::vector<Fiber*>(lanes_)) {
    Fiber* of_lane[32] = {};
    unsigned present = 0;
    for (Fiber* fiber : lanes_) {
      if (fiber->meeting == first->meeting && fiber->mask == first->mask) {
        of_lane[fiber->thread % 32] = fiber;
        present |= 1u << fiber->thread % 32;
      }
    }
    const unsigned exist = order_.size() - 32 * warp_ < 32 ? (1u << (order_.size() - 32 * warp_)) - 1 : 0xffffffff;
    if (first->mask & exist & ~present) continue;
    if (present & ~first->mask) die("%s: a lane calls a warp function with a mask that leaves it out", block_name().c_str());
    for (Fiber* fiber : std::vector<Fiber*>(lanes_)) {
      if (of_lane[fiber->thread % 32] != fiber) continue;
      const int source = fiber->source < 0 ? fiber->thread % 32 : fiber->source;
      if (!of_lane[source]) die("%s: a shuffle reads lane %d, which takes no part in it", block_name().c_str(), source);
      fiber->received = of_lane[source]->value;
      ready_.push_back(fiber);
      lanes_.erase(std::find(lanes_.begin(), lanes_.end(), fiber));
    }
    return;
  }
  die("%s: %zu lanes of warp %u wait at a shuffle or __syncwarp for lanes of their mask that returned or wait elsewhere",
      block_name().c_str(), lanes_.size(), warp_);
}

void Grid::release_block() {
  if (barrier_.size() != order_.size()) {
    die("%s: %zu of its %zu threads wait at __syncthreads, but the others have returned", block_name().c_str(),
        barrier_.size(), order_.size());
  }
  for (Fiber* fiber : barrier_) suspended_[fiber->thread] = fiber;
  barrier_.clear();
  next_ = 0;
}

}  // namespace

void run(const char* kernel, const Configuration& configuration, const std::function<void()>& thread) {
  grid().run(kernel, configuration, thread);
}
void sync_threads() { grid().sync_threads(); }
uint64_t meet(Meeting meeting, unsigned mask, int source, uint64_t value) {
  return grid().meet(meeting, mask, source, value);
}
int lane() { return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32; }
void* dynamic_shared() { return grid().dynamic_shared(); }
void fresh(void* variable, size_t bytes) { grid().fresh(variable, bytes); }

}  // namespace emulation
