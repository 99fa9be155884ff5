#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <numeric>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "counters.hpp"
#include "scheduler.hpp"
#include "settings.hpp"
#include "streams.hpp"
#include "workers.hpp"

namespace cuda_emulator {

inline constexpr std::size_t max_shared_bytes = 227 * 1024;

namespace detail {

struct grid_call {
  dim3 grid, block;
  std::size_t shared_bytes;
  kernel_call kernel;
};

inline void check_configuration(dim3 g, dim3 b, std::size_t shared_bytes) {
  const auto bad = [](const std::string& what) { throw error("cuda_emulator: invalid configuration: " + what); };
  const std::uint64_t threads = std::uint64_t{b.x} * b.y * b.z;
  if (b.x > 1024 || b.y > 1024 || b.z > 64 || threads == 0 || threads > 1024)
    bad("block " + text(b) + ", expected 1 to 1024 threads, z to 64");
  if (g.x == 0 || g.y == 0 || g.z == 0 || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535)
    bad("grid " + text(g) + ", expected 1 or more, x to 2147483647, y and z to 65535");
  if (shared_bytes > max_shared_bytes)
    bad(std::to_string(shared_bytes) + " bytes of shared memory, expected " + std::to_string(max_shared_bytes) +
        " or less");
}

/// The blocks of a grid, in the order in which they are run: n -> (factor n + offset) mod count.
class block_order {
 public:
  block_order(dim3 grid, std::uint64_t seed) : grid_(grid), count_(std::uint64_t{grid.x} * grid.y * grid.z) {
    if (seed == 0) return;
    order_random random(seed);
    offset_ = random() % count_;
    do factor_ = 1 + random() % std::min<std::uint64_t>(count_, 0xffff);
    while (std::gcd(factor_, count_) != 1);
  }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint64_t number(std::uint64_t turn) const {
    return (turn % count_ * factor_ + offset_) % count_;  // counts below 2^48 do not overflow
  }
  [[nodiscard]] uint3 index(std::uint64_t number) const {
    return {static_cast<unsigned>(number % grid_.x), static_cast<unsigned>(number / grid_.x % grid_.y),
            static_cast<unsigned>(number / grid_.x / grid_.y)};
  }

 private:
  dim3 grid_;
  std::uint64_t count_, factor_ = 1, offset_ = 0;
};

/// What the workers of a launch share. No order between blocks is made here: ThreadSanitizer must not believe in one.
struct grid_progress {
  block_order order;
  std::atomic<std::uint64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
};

inline void run_blocks(const grid_call& call, const options& how, grid_progress& progress) {
  block_runner& runner = this_runner();
  try {
    runner.prepare(call.block, how.stack_bytes);
    {
      const unseen hidden;
      blockDim = call.block;
      gridDim = call.grid;
    }
    const std::uint64_t count = progress.order.count();
    for (;;) {
      const std::uint64_t turn = progress.next.fetch_add(1, std::memory_order_relaxed);
      if (turn >= count) return;
      const std::uint64_t number = progress.order.number(turn);
      {
        const unseen hidden;
        blockIdx = progress.order.index(number);
      }
      // A block's own order depends on its place alone, not on who runs it.
      runner.run(call.kernel, call.shared_bytes, how.order_seed == 0 ? 0 : how.order_seed + 0x1000003 * (number + 1));
    }
  } catch (...) {
    progress.next.store(progress.order.count(), std::memory_order_relaxed);
    const std::scoped_lock lock(progress.mutex);
    if (!progress.failure) progress.failure = std::current_exception();
  }
}

inline void run_grid(const grid_call& call) {
  const options how = settings();
  ++counts().kernels;
  grid_progress progress{block_order(call.grid, how.order_seed), {}, {}, {}};
  const std::uint64_t workers = std::min(static_cast<std::uint64_t>(std::max(how.workers, 1)), progress.order.count());
  if (workers == 1) {
    run_blocks(call, how, progress);
  } else {
    thread_local worker_team team;
    auto work = [&] { run_blocks(call, how, progress); };
    team.run(
        workers - 1, [](void* p) { (*static_cast<decltype(work)*>(p))(); }, &work);
  }
  if (progress.failure) std::rethrow_exception(progress.failure);
}

}  // namespace detail

/// kernel<<<grid, block, shared_bytes, stream>>>(args...), done when it returns unless settings().deferred says
/// otherwise or the stream is captured; not done at all, and so returned, where the capture is broken.
/// A thread that spins until another one writes hangs: threads change places at barriers and in warps' operations only.
/// @throws error for mistakes that were found; what the kernel throws. Where it is deferred, who waits is told.
template <class... P, class... A>
cudaError launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
                 A&&... args) {
  static_assert(sizeof...(P) == sizeof...(A), "a kernel has no default arguments here");
  static_assert(((!std::is_reference_v<P> && std::is_trivially_copy_constructible_v<P> &&
                  std::is_trivially_destructible_v<P>)&&...),
                "arguments reach a device as bytes");
  using values = std::tuple<P...>;
  if (detail::running != nullptr) throw error("cuda_emulator: a kernel launched a kernel");
  detail::check_configuration(grid, block, shared_bytes);
  const cudaError status = detail::streams().submit(
      stream, [grid, block, shared_bytes, kernel, arguments = values(static_cast<P>(std::forward<A>(args))...)] {
        struct bound {
          void (*kernel)(P...);
          values arguments;
        } call{kernel, arguments};
        const auto run = [](void* p) {
          const auto& b = *static_cast<const bound*>(p);
          std::apply(b.kernel, b.arguments);
        };
        detail::run_grid({grid, block, shared_bytes, {run, &call}});
      });
  if (status == cudaErrorStreamCaptureImplicit)
    throw error("cuda_emulator: launch in the default stream while another stream is captured");
  return status;
}

}  // namespace cuda_emulator
