#pragma once
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

namespace cuda_emulator::detail {

/// Threads of the host that work beside the one that calls. They stay, and with them their fibers, for the next time.
class worker_team {
 public:
  worker_team() = default;
  worker_team(const worker_team&) = delete;
  worker_team& operator=(const worker_team&) = delete;
  ~worker_team() {
    {
      const std::scoped_lock lock(mutex_);
      ending_ = true;
    }
    wake_.notify_all();
    for (std::thread& t : threads_) t.join();
  }

  /// job(argument), which does not throw, on the caller and `helpers` more threads; returns when all are done.
  void run(std::size_t helpers, void (*job)(void*), void* argument) {
    std::unique_lock lock(mutex_);
    while (threads_.size() < helpers) threads_.emplace_back([this, n = threads_.size()] { serve(n); });
    job_ = job, argument_ = argument, wanted_ = busy_ = helpers;
    ++round_;
    lock.unlock();
    wake_.notify_all();
    job(argument);
    lock.lock();
    done_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  void serve(std::size_t number) {
    std::size_t served = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return ending_ || (round_ != served && number < wanted_); });
      if (ending_) return;
      served = round_;
      const auto job = job_;
      void* const argument = argument_;
      lock.unlock();
      job(argument);
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  void (*job_)(void*) = nullptr;
  void* argument_ = nullptr;
  std::size_t round_ = 0, wanted_ = 0, busy_ = 0;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace cuda_emulator::detail
