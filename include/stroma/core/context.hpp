#pragma once
#include <algorithm>
#include <atomic>
#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/tensor.hpp>
#include <stroma/core/workspace.hpp>

namespace stroma {

/// Where and with what an algorithm runs. Comes first in every call, by reference; one for each calling thread.
template <class C>
concept execution_context = requires(C& c) {
  typename C::backend;
  typename C::space;
  c.workspace().open();
  c.synchronize();
};

namespace detail {

/// Threads that sleep between jobs. A job is a function called once for every task number.
class thread_pool {
 public:
  explicit thread_pool(int extra) {
    threads_.reserve(static_cast<std::size_t>(extra));
    try {
      for (int w = 0; w < extra; ++w) threads_.emplace_back([this, w] { work(w + 1); });
    } catch (...) {  // the system has no further thread; those that started must be joined
      stop();
      throw;
    }
  }
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;
  ~thread_pool() { stop(); }

  using task_function = void (*)(void* body, index_t task, int worker);

  void run(index_t tasks, task_function call, void* body) {
    {
      const std::lock_guard lock(mutex_);
      call_ = call;
      body_ = body;
      tasks_ = tasks;
      next_.store(0, std::memory_order_relaxed);
      busy_ = static_cast<int>(threads_.size());
      ++generation_;
    }
    start_.notify_all();
    drain(0);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  void stop() noexcept {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    start_.notify_all();
    for (auto& t : threads_) t.join();
  }
  void drain(int worker) {
    for (index_t t; (t = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) {
      try {
        call_(body_, t, worker);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        // Tasks start in order, so the first in order of all that fail has started: which error the caller sees
        // does not depend on the number of threads.
        if (!error_ || t < error_task_) {
          error_ = std::current_exception();
          error_task_ = t;
        }
        next_.store(tasks_, std::memory_order_relaxed);
      }
    }
  }
  void work(int worker) {
    for (std::uint64_t seen = 0;;) {
      {
        std::unique_lock lock(mutex_);
        start_.wait(lock, [&] { return stopping_ || generation_ != seen; });
        if (stopping_) return;
        seen = generation_;
      }
      drain(worker);
      const std::lock_guard lock(mutex_);
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable start_, done_;
  std::atomic<index_t> next_{0};
  task_function call_{};
  void* body_{};
  index_t tasks_{};
  int busy_{};
  std::uint64_t generation_{};
  std::exception_ptr error_;
  index_t error_task_{};
  bool stopping_ = false;
};

}  // namespace detail

/// Runs on the host, on the caller's thread and `threads - 1` of its own. Results do not depend on the number of
/// threads. Not thread-safe: one for each calling thread.
class cpu_context {
 public:
  using backend = stroma::backend::cpu;
  using space = host_space;
  using resource = host_resource;  ///< where its memory comes from

  explicit cpu_context(int threads = 1) : threads_(threads) {
    check::in_range("cpu_context", "threads", threads, 1, 1024);
    if (threads > 1) pool_ = std::make_unique<detail::thread_pool>(threads - 1);
  }

  [[nodiscard]] stroma::workspace& workspace() noexcept { return workspace_; }
  [[nodiscard]] stroma::workspace& host_workspace() noexcept { return workspace_; }
  [[nodiscard]] static host_resource memory() noexcept { return {}; }
  [[nodiscard]] int threads() const noexcept { return threads_; }
  void synchronize() noexcept {}

  /// Calls body(task, worker) for task 0 .. tasks - 1, in no order; worker is below threads(). What a task computes
  /// must not depend on the worker, or the result would depend on the number of threads. The body may not use the
  /// workspace: take what the workers need before. A call from within a body runs on that body's thread, as worker 0.
  /// Throws what the first task in order that failed threw; tasks that had not started then are left out.
  template <class Body>
  void parallel(index_t tasks, Body&& body) {
    if (pool_ == nullptr || tasks < 2 || inside_) {
      for (index_t t = 0; t < tasks; ++t) body(t, 0);
      return;
    }
    using body_type = std::remove_reference_t<Body>;
    inside_ = true;
    const struct leave {
      bool& flag;
      ~leave() { flag = false; }
    } guard{inside_};
    pool_->run(
        tasks, [](void* b, index_t t, int worker) { (*static_cast<body_type*>(b))(t, worker); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  int threads_;
  bool inside_ = false;
  stroma::workspace workspace_;
  std::unique_ptr<detail::thread_pool> pool_;
};

}  // namespace stroma
