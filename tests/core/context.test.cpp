#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>

#include "../support/counting_allocator.hpp"

using stroma::cpu_context;
using stroma::index_t;

namespace {

constexpr int thread_counts[] = {1, 2, 3, 8};

struct failure : std::runtime_error {
  index_t task;
  explicit failure(index_t t) : std::runtime_error("task " + std::to_string(t)), task(t) {}
};

}  // namespace

TEST_CASE("context: parallel does each task exactly once") {
  for (const int threads : thread_counts) {
    cpu_context ctx(threads);
    CHECK(ctx.threads() == threads);
    for (const index_t tasks : {0, 1, 2, 1000}) {
      std::vector<std::atomic<int>> done(static_cast<std::size_t>(tasks));
      std::atomic<int> foreign_workers = 0;
      ctx.parallel(tasks, [&](index_t t, int worker) {
        ++done[static_cast<std::size_t>(t)];
        if (worker < 0 || worker >= threads) ++foreign_workers;
      });
      CAPTURE(threads);
      CAPTURE(tasks);
      CHECK(std::all_of(done.begin(), done.end(), [](const auto& n) { return n == 1; }));
      CHECK(foreign_workers == 0);
    }
  }
}

TEST_CASE("context: what tasks wrote is seen by the caller, and what the caller wrote by the tasks") {
  cpu_context ctx(3);
  std::vector<index_t> value(257);
  for (index_t round = 1; round <= 300; ++round) {
    const index_t before = round - 1;
    index_t wrong = 0;
    for (const index_t v : value) wrong += v != before;
    REQUIRE(wrong == 0);
    ctx.parallel(257, [&](index_t t, int) { value[static_cast<std::size_t>(t)] += round - before; });
  }
}

TEST_CASE("context: a worker number belongs to one thread at a time") {
  cpu_context ctx(8);
  std::vector<long> of_worker(8);  // not atomic: ThreadSanitizer would see two threads with one number
  ctx.parallel(1000, [&](index_t t, int worker) { of_worker[static_cast<std::size_t>(worker)] += t; });
  CHECK(std::accumulate(of_worker.begin(), of_worker.end(), 0L) == 999L * 1000 / 2);
}

TEST_CASE("context: threads work at the same time") {
  cpu_context ctx(3);
  std::atomic<int> arrived = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  std::atomic<bool> together = true;
  ctx.parallel(3, [&](index_t, int) {  // each task ends only when all three have begun
    ++arrived;
    while (arrived < 3) {
      if (std::chrono::steady_clock::now() > deadline) {
        together = false;
        return;
      }
      std::this_thread::yield();
    }
  });
  CHECK(together);
}

TEST_CASE("context: an exception reaches the caller, the first in order for any number of threads") {
  for (const int threads : thread_counts) {
    cpu_context ctx(threads);
    for (int round = 0; round < 20; ++round) {
      index_t seen = -1;
      try {
        ctx.parallel(1000, [](index_t t, int) {
          if (t % 7 == 5) throw failure(t);
        });
      } catch (const failure& f) {
        seen = f.task;
      }
      CHECK(seen == 5);
      std::atomic<int> done = 0;
      ctx.parallel(100, [&](index_t, int) { ++done; });
      CHECK(done == 100);
    }
  }
}

TEST_CASE("context: all tasks throw") {
  cpu_context ctx(8);
  for (int round = 0; round < 50; ++round)
    CHECK_THROWS_WITH_AS(ctx.parallel(64, [](index_t t, int) { throw failure(t); }), "task 0", failure);
}

TEST_CASE("context: a parallel call within a task runs on that task's thread") {
  for (const int threads : thread_counts) {
    cpu_context ctx(threads);
    std::vector<int> done(20 * 30);
    std::atomic<int> elsewhere = 0;
    ctx.parallel(20, [&](index_t outer, int) {
      const auto here = std::this_thread::get_id();
      ctx.parallel(30, [&](index_t inner, int worker) {
        ++done[static_cast<std::size_t>(outer * 30 + inner)];
        if (std::this_thread::get_id() != here || worker != 0) ++elsewhere;
      });
    });
    CHECK(elsewhere == 0);
    CHECK(std::all_of(done.begin(), done.end(), [](int n) { return n == 1; }));
    CHECK_THROWS_AS(ctx.parallel(20, [&](index_t, int) { ctx.parallel(2, [](index_t t, int) { throw failure(t); }); }),
                    failure);
    std::atomic<int> workers_above_0 = 0;
    ctx.parallel(2, [&](index_t, int worker) { workers_above_0 += worker > 0; });  // parallel again after the failure
    CHECK(workers_above_0 <= 2);
  }
}

TEST_CASE("context: one thread runs tasks in order on the caller's thread") {
  cpu_context ctx;
  CHECK(ctx.threads() == 1);
  std::vector<index_t> order;
  const auto here = std::this_thread::get_id();
  ctx.parallel(5, [&](index_t t, int worker) {
    order.push_back(t);
    CHECK(worker == 0);
    CHECK(std::this_thread::get_id() == here);
  });
  CHECK(order == std::vector<index_t>{0, 1, 2, 3, 4});
  ctx.synchronize();
}

TEST_CASE("context: bodies may be const, mutable or temporary, and are not copied") {
  struct counter {
    std::atomic<int>* done;
    counter(std::atomic<int>* d) : done(d) {}
    counter(const counter&) = delete;
    void operator()(index_t, int) const { ++*done; }
  };
  cpu_context ctx(2);
  std::atomic<int> done = 0;
  const counter fixed(&done);
  ctx.parallel(10, fixed);
  ctx.parallel(10, counter(&done));
  counter own(&done);
  ctx.parallel(10, own);
  CHECK(done == 30);
}

TEST_CASE("context: parallel takes no memory") {
  cpu_context ctx(3);
  std::atomic<int> done = 0;
  const auto call = [&] { ctx.parallel(100, [&](index_t, int) { ++done; }); };
  call();
  CHECK(allocations_in(call) == 0);
}

TEST_CASE("context: thread counts that make no sense are refused") {
  CHECK_THROWS_WITH_AS(cpu_context(0), "cpu_context: threads: 0, expected 1 to 1024", stroma::value_error);
  CHECK_THROWS_WITH_AS(cpu_context(-3), "cpu_context: threads: -3, expected 1 to 1024", stroma::value_error);
  CHECK_THROWS_AS(cpu_context(1025), stroma::value_error);
}

TEST_CASE("context: is an execution context with scratch of its own") {
  static_assert(stroma::execution_context<cpu_context>);
  static_assert(!stroma::execution_context<int>);
  cpu_context a, b;
  CHECK(&a.workspace() != &b.workspace());
  auto scratch = a.workspace().open();
  scratch.take<int>(3)[2] = 1;
  CHECK(a.workspace().capacity() > 0);
  CHECK(b.workspace().capacity() == 0);
}

TEST_CASE("context: contexts of several threads work side by side, and come and go") {
  std::atomic<long> sum = 0;
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c)
    callers.emplace_back([&sum] {
      for (int round = 0; round < 20; ++round) {
        cpu_context ctx(2 + round % 2);
        ctx.parallel(50, [&](index_t t, int) { sum += t; });
      }
    });
  for (auto& t : callers) t.join();
  CHECK(sum == 3L * 20 * (49 * 50 / 2));
}
