#pragma once
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "counters.hpp"
#include "scheduler.hpp"
#include "settings.hpp"

// Streams: queues of work whose order against each other is CUDA's and no stricter, and captures of one stream.
//
// A default stream waits for the streams that were made with cudaStreamCreate, and they for it; those of
// cudaStreamNonBlocking do not. Everything else waits for events alone.

enum cudaError {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidDevice = 101,
  cudaErrorIllegalState = 401,
  cudaErrorNotReady = 600,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorStreamCaptureImplicit = 906,
};
using cudaError_t = cudaError;

namespace cuda_emulator::detail {

using request = std::function<void()>;

/// Whether a stream has come to what was recorded in it.
struct milestone {
  bool reached = false;
};
struct queued_work {
  std::uint64_t ticket;  // in the order of all submissions
  request run;
  std::shared_ptr<const milestone> after;  // of another stream, or null
};

}  // namespace cuda_emulator::detail

/// What a capture has recorded; every launch runs it as it is, with the arguments of the capture.
struct CUgraph_st {
  std::vector<cuda_emulator::detail::request> nodes;
};
struct CUgraphExec_st {
  std::vector<cuda_emulator::detail::request> nodes;
};
struct CUstream_st {
  std::deque<cuda_emulator::detail::queued_work> queue;
  bool blocking = true;                   // waits for the default stream and is waited for
  std::unique_ptr<CUgraph_st> recording;  // while it is captured
  bool relaxed = false, broken = false;   // the capture
};
struct CUevent_st {
  std::shared_ptr<cuda_emulator::detail::milestone> last;
};

namespace cuda_emulator::detail {

class device_streams {
 public:
  device_streams() { all_.push_back(&default_); }
  device_streams(const device_streams&) = delete;
  device_streams& operator=(const device_streams&) = delete;
  ~device_streams() {
    try {
      wait_for_all();
    } catch (...) {  // a mistake that nobody waited for
    }
  }

  /// Does f now, or queues or records it.
  template <class F>
  cudaError submit(cudaStream_t handle, F&& f, std::shared_ptr<const milestone> after = nullptr) {
    CUstream_st& stream = of(handle);
    if (stream.recording != nullptr) {
      if (after != nullptr) return refuse(stream);
      if (stream.broken) return cudaErrorStreamCaptureInvalidated;
      stream.recording->nodes.emplace_back(std::forward<F>(f));
      return cudaSuccess;
    }
    if (handle == nullptr && captures_ > 0) return refuse_all(cudaErrorStreamCaptureImplicit);
    if (!settings().deferred) {
      f();
      return cudaSuccess;
    }
    const std::scoped_lock lock(mutex_);
    stream.queue.push_back({++tickets_, std::forward<F>(f), std::move(after)});
    return cudaSuccess;
  }
  cudaError wait(cudaStream_t handle) {
    CUstream_st& stream = of(handle);
    if (stream.recording != nullptr) return refuse(stream);
    if (handle == nullptr && captures_ > 0) return refuse_all(cudaErrorStreamCaptureImplicit);
    const std::scoped_lock lock(mutex_);
    run_until([&] { return stream.queue.empty(); }, &stream);
    return cudaSuccess;
  }
  cudaError wait(const std::shared_ptr<milestone>& event) {
    if (captures_ > 0) return refuse_all(cudaErrorStreamCaptureUnsupported);
    const std::scoped_lock lock(mutex_);
    run_until([&] { return event->reached; }, nullptr);
    return cudaSuccess;
  }
  cudaError wait_for_all() {
    if (captures_ > 0) return refuse_all(cudaErrorStreamCaptureUnsupported);
    const std::scoped_lock lock(mutex_);
    run_until([&] { return std::all_of(all_.begin(), all_.end(), [](auto* s) { return s->queue.empty(); }); }, nullptr);
    return cudaSuccess;
  }
  /// Whether a call that takes or gives memory may be made: captures that are not relaxed forbid it to all.
  cudaError unsafe_call() { return captures_ > 0 ? refuse_all(cudaErrorStreamCaptureUnsupported) : cudaSuccess; }
  cudaError refuse(CUstream_st& stream) {
    stream.broken = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  [[nodiscard]] CUstream_st& of(cudaStream_t handle) { return handle == nullptr ? default_ : *handle; }

  cudaStream_t make(bool blocking) {
    auto* const stream = new CUstream_st;
    stream->blocking = blocking;
    const std::scoped_lock lock(mutex_);
    all_.push_back(stream);
    return stream;
  }
  cudaError destroy(cudaStream_t stream) {
    if (stream->recording != nullptr) return refuse(*stream);
    const cudaError status = wait(stream);
    const std::scoped_lock lock(mutex_);
    std::erase(all_, stream);
    delete stream;
    return status;
  }

  cudaError begin_capture(cudaStream_t stream, bool relaxed) {
    if (stream == nullptr) return cudaErrorStreamCaptureUnsupported;
    if (stream->recording != nullptr) return cudaErrorIllegalState;
    stream->recording = std::make_unique<CUgraph_st>();
    stream->relaxed = relaxed;
    stream->broken = false;
    if (!relaxed) ++captures_;
    return cudaSuccess;
  }
  /// The graph, or null where the capture is broken.
  cudaError end_capture(cudaStream_t stream, CUgraph_st** graph) {
    *graph = nullptr;
    if (stream == nullptr || stream->recording == nullptr) return cudaErrorIllegalState;
    const auto recorded = std::move(stream->recording);
    if (!stream->relaxed) --captures_;
    if (stream->broken) return cudaErrorStreamCaptureInvalidated;
    *graph = new CUgraph_st(std::move(*recorded));
    return cudaSuccess;
  }

 private:
  cudaError refuse_all(cudaError status) {
    const std::scoped_lock lock(mutex_);
    for (CUstream_st* const s : all_) s->broken = s->broken || (s->recording != nullptr && !s->relaxed);
    return status;
  }
  [[nodiscard]] bool may_run(const CUstream_st& stream) const {
    if (stream.queue.empty()) return false;
    const queued_work& next = stream.queue.front();
    if (next.after != nullptr && !next.after->reached) return false;
    const auto passes = [&](const CUstream_st& other) {
      return other.queue.empty() || other.queue.front().ticket > next.ticket;
    };
    if (&stream != &default_) return !stream.blocking || passes(default_);
    return std::all_of(all_.begin(), all_.end(),
                       [&](const CUstream_st* s) { return s == &default_ || !s->blocking || passes(*s); });
  }
  template <class Done>
  void run_until(const Done& done, CUstream_st* wanted) {
    order_random random(settings().order_seed + 0x1000003 * tickets_);
    while (!done()) {
      CUstream_st* next = wanted != nullptr && settings().order_seed == 0 && may_run(*wanted) ? wanted : nullptr;
      std::uint64_t choices = 0;
      if (next == nullptr)
        for (CUstream_st* const s : all_) {
          if (!may_run(*s)) continue;
          ++choices;
          const bool earlier = next == nullptr || s->queue.front().ticket < next->queue.front().ticket;
          if (settings().order_seed == 0 ? earlier : random() % choices == 0) next = s;
        }
      if (next == nullptr) throw error("cuda_emulator: streams wait for each other");
      const request run = std::move(next->queue.front().run);
      next->queue.pop_front();
      run();
    }
  }

  std::recursive_mutex mutex_;
  CUstream_st default_;
  std::vector<CUstream_st*> all_;
  std::uint64_t tickets_ = 0;
  std::atomic<int> captures_{0};  // that are not relaxed
};
inline device_streams& streams() {
  static device_streams all;
  return all;
}

}  // namespace cuda_emulator::detail

namespace cuda_emulator {

/// Settings until the end of a scope: `const settings_scope shuffled({.workers = 2, .order_seed = 7});` What is asked
/// of streams before and within it is done by its ends.
class settings_scope {
 public:
  explicit settings_scope(const options& o) {
    detail::streams().wait_for_all();
    before_ = std::exchange(settings(), o);
  }
  settings_scope(const settings_scope&) = delete;
  settings_scope& operator=(const settings_scope&) = delete;
  ~settings_scope() {
    try {
      detail::streams().wait_for_all();
    } catch (...) {  // a mistake that nobody waited for
    }
    settings() = before_;
  }

 private:
  options before_;
};

}  // namespace cuda_emulator
