#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "block.hpp"

// CUDA's variables. Constant-initialised, so that reading one is one instruction.
inline constinit thread_local uint3 threadIdx{};
inline constinit thread_local uint3 blockIdx{};
inline constinit thread_local dim3 blockDim{};
inline constinit thread_local dim3 gridDim{};
inline constexpr int warpSize = 32;

namespace cuda_emulator::detail {

/// The thread that runs just now; none outside of kernels.
inline constinit thread_local cuda_thread* running = nullptr;

/// Unwinds a fiber whose block is given up.
struct abandoned {};

/// What a block runs: a kernel with its arguments.
struct kernel_call {
  void (*run)(void*);
  void* argument;
};

enum class barrier_kind { plain, any, all, count };

/// The same numbers everywhere (splitmix64).
class order_random {
 public:
  explicit order_random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t operator()() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  void shuffle(unsigned char* items, std::size_t count) {
    for (std::size_t i = count; i > 1; --i) std::swap(items[i - 1], items[(*this)() % i]);
  }

 private:
  std::uint64_t state_;
};

/// Runs blocks, one after the other, on the calling thread. Fibers and memory are kept from block to block.
class block_runner {
 public:
  block_runner() = default;
  block_runner(const block_runner&) = delete;
  block_runner& operator=(const block_runner&) = delete;

  [[nodiscard]] bool busy() const { return alive_ > 0; }
  /// Makes the fibers for blocks of that many threads.
  void prepare(dim3 dims, std::size_t stack_bytes);
  /// order_seed: 0 runs warps and lanes in their order; else they are shuffled whenever threads have waited.
  /// @throws error, and what the kernel throws
  void run(const kernel_call& kernel, std::size_t shared_bytes, std::uint64_t order_seed);

  // for the threads that run
  int barrier(barrier_kind kind, bool vote, place where);
  std::uint64_t call(call_kind kind, unsigned mask, std::uint64_t value, unsigned source, place where);
  [[nodiscard]] unsigned char* dynamic_shared() { return shared_.data(); }
  void live(cuda_thread& t);

 private:
  void start(std::size_t shared_bytes);
  void run_threads(std::uint64_t order_seed);
  bool pass(order_random* random);
  bool pass_warp(unsigned number, const unsigned char* lanes);
  void resume(cuda_thread& t);
  void board(cuda_thread& t);
  void open_barrier();
  void abandon();
  void wait(cuda_thread& t);
  void finish_call(warp& w, unsigned first, unsigned members);
  [[nodiscard]] bool complete(const warp& w, unsigned first, unsigned members, const warp_call& mine) const;
  [[nodiscard]] char* key_of_call(const warp& w, unsigned first, unsigned mask);

  [[nodiscard]] const cuda_thread* find(thread_state state) const;
  [[nodiscard]] error mistake(const char* kind, const cuda_thread& t, const std::string& what) const;
  [[nodiscard]] error stuck() const;
  [[nodiscard]] error stuck_call(const cuda_thread& t) const;

  std::vector<cuda_thread> threads_;
  std::vector<std::unique_ptr<carrier>> carriers_;
  std::vector<carrier*> free_;
  std::vector<warp> warps_;
  std::vector<unsigned char> warp_order_;
  dim3 dims_{0, 0, 0};
  std::size_t stack_bytes_ = 0;
  unsigned size_ = 0, alive_ = 0;
  kernel_call kernel_{};
  shared_memory shared_;
  std::exception_ptr failure_;
  bool abandoning_ = false;

  // the barrier: who waits, their votes, and the votes at the last one
  unsigned waiting_ = 0, votes_ = 0, last_votes_ = 0, generation_ = 0;
  barrier_kind kind_{};
  const cuda_thread* first_waiting_ = nullptr;

  // Addresses that ThreadSanitizer knows orders by. Those of barriers and calls alternate: a thread that runs ahead to
  // the next one must not be seen by who is still leaving this one.
  char started_key_ = 0, exited_key_ = 0, barrier_key_[2] = {}, call_key_[128] = {};
  unsigned calls_ = 0;
};

/// Runs the calling thread's blocks.
inline block_runner& this_runner() {
  thread_local block_runner runner;
  return runner;
}

inline void carrier::run(void* self) {
  auto* const c = static_cast<carrier*>(self);
  cuda_thread* passenger = nullptr;
  {
    const unseen hidden;
    passenger = c->passenger;
  }
  c->owner->live(*passenger);
}

/// The thread that calls a device function.
inline cuda_thread& current_thread(const char* function) {
  if (running == nullptr) throw error(std::string("cuda_emulator: ") + function + ": called outside of a kernel");
  return *running;
}

inline void block_runner::prepare(dim3 dims, std::size_t stack_bytes) {
  const unseen hidden;
  if (stack_bytes != stack_bytes_) {
    free_.clear();
    carriers_.clear();
  }
  const bool same = stack_bytes == stack_bytes_ && dims.x == dims_.x && dims.y == dims_.y && dims.z == dims_.z;
  if (same) return;
  dims_ = {0, 0, 0};  // should the following fail
  stack_bytes_ = stack_bytes;
  const unsigned size = dims.x * dims.y * dims.z;
  threads_.resize(size);
  free_.reserve(size);
  for (unsigned i = 0; i < size; ++i) {
    threads_[i].rank = i;
    threads_[i].index = {i % dims.x, i / dims.x % dims.y, i / (dims.x * dims.y)};
  }
  warps_.resize((size + warp_lanes - 1) / warp_lanes);
  warp_order_.resize(warps_.size());
  size_ = size;
  dims_ = dims;
}

inline void block_runner::start(std::size_t shared_bytes) {
  shared_.renew(shared_bytes);
  for (unsigned w = 0; w < warps_.size(); ++w) {
    const unsigned lanes = std::min(warp_lanes, size_ - w * warp_lanes);
    const unsigned present = lanes == warp_lanes ? ~0u : (1u << lanes) - 1;
    warps_[w] = {.present = present, .ready = present, .calling = 0};
    warp_order_[w] = static_cast<unsigned char>(w);
  }
  for (unsigned i = 0; i < size_; ++i) threads_[i].state = thread_state::ready;
  alive_ = size_;
  waiting_ = votes_ = 0;
  first_waiting_ = nullptr;
  failure_ = nullptr;
}

inline void block_runner::run(const kernel_call& kernel, std::size_t shared_bytes, std::uint64_t order_seed) {
  {
    const unseen hidden;
    kernel_ = kernel;
    start(shared_bytes);
    release(&started_key_);
    try {
      run_threads(order_seed);
    } catch (...) {
      failure_ = std::current_exception();
    }
    if (failure_) abandon();
    acquire(&exited_key_);
    if (!failure_ && shared_.overrun())
      failure_ = std::make_exception_ptr(error("cuda_emulator: shared memory overrun: block " + text(blockIdx) +
                                               " wrote behind the dynamic shared memory"));
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

inline void block_runner::run_threads(std::uint64_t order_seed) {
  order_random random(order_seed);
  while (alive_ > 0 && !failure_) {
    const bool moved = pass(order_seed != 0 ? &random : nullptr);
    if (failure_ || alive_ == 0) return;
    if (waiting_ == size_) open_barrier();
    else if (!moved) throw stuck();
  }
}

/// Every thread that can run does so until it waits or ends. False: there was none.
inline bool block_runner::pass(order_random* random) {
  unsigned char lanes[warp_lanes];
  for (unsigned i = 0; i < warp_lanes; ++i) lanes[i] = static_cast<unsigned char>(i);
  bool moved = false;
  if (random != nullptr) {
    random->shuffle(warp_order_.data(), warp_order_.size());
    random->shuffle(lanes, warp_lanes);
  }
  for (std::size_t w = 0; w < warps_.size() && !failure_; ++w) {
    // In the plain order a warp goes on as long as it can, while its stacks are in the cache.
    bool again = true;
    while (again && !failure_) {
      again = pass_warp(warp_order_[w], lanes);
      moved = moved || again;
      if (random != nullptr) break;
    }
  }
  return moved;
}
inline bool block_runner::pass_warp(unsigned number, const unsigned char* lanes) {
  warp& w = warps_[number];
  if (w.ready == 0) return false;
  for (unsigned i = 0; i < warp_lanes; ++i) {
    const unsigned lane = lanes[i], bit = 1u << lane;
    if ((w.ready & bit) == 0) continue;
    w.ready &= ~bit;
    resume(threads_[number * warp_lanes + lane]);
    if (failure_) break;
  }
  return true;
}
inline void block_runner::resume(cuda_thread& t) {
  if (t.on == nullptr) board(t);
  carrier& on = *t.on;
  running = &t;
  threadIdx = t.index;
  on.context.resume();
  running = nullptr;
  if (t.state != thread_state::exited) return;
  t.on = nullptr;
  if (!has_tsan) free_.push_back(&on);
}
/// The fiber that was given back last is still in the cache: threads that never wait all run on one. For
/// ThreadSanitizer, which takes all that one fiber does for ordered, every thread has its own.
inline void block_runner::board(cuda_thread& t) {
  while (has_tsan ? carriers_.size() <= t.rank : free_.empty()) {
    carriers_.push_back(std::make_unique<carrier>(*this, stack_bytes_, carriers_.size()));
    if (!has_tsan) free_.push_back(carriers_.back().get());
  }
  t.on = has_tsan ? carriers_[t.rank].get() : free_.back();
  if (!has_tsan) free_.pop_back();
  t.on->passenger = &t;
}

inline void block_runner::open_barrier() {
  last_votes_ = std::exchange(votes_, 0u);
  waiting_ = 0;
  ++generation_;
  for (unsigned i = 0; i < size_; ++i) threads_[i].state = thread_state::ready;
  for (warp& w : warps_) w.ready = w.present;
}

/// Unwinds all threads that wait somewhere, so that what their stacks hold is given back.
inline void block_runner::abandon() {
  abandoning_ = true;
  for (unsigned i = 0; i < size_; ++i)
    if (threads_[i].on != nullptr) resume(threads_[i]);
  alive_ = 0;
  abandoning_ = false;
}

/// On the thread's fiber: all of its life in this block.
inline void block_runner::live(cuda_thread& t) {
  acquire(&started_key_);
  std::exception_ptr thrown;
  try {
    kernel_.run(kernel_.argument);
  } catch (const abandoned&) {
  } catch (...) {
    thrown = std::current_exception();
  }
  release(&exited_key_);
  const unseen hidden;
  t.state = thread_state::exited;
  --alive_;
  if (t.on->context.stack().overflowed() && !thrown)
    thrown = std::make_exception_ptr(
        mistake("stack overflow", t,
                "needs more than the " + std::to_string(stack_bytes_) + " bytes of settings().stack_bytes"));
  if (thrown && !failure_) failure_ = thrown;
}

inline void block_runner::wait(cuda_thread& t) {
  t.on->context.suspend();
  if (abandoning_) throw abandoned{};
}

}  // namespace cuda_emulator::detail

#include "waiting.hpp"
