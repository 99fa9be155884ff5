#include <algorithm>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include "kernels.hpp"

namespace {

template <class T>
__global__ void add_all(T* sum, T* seen) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  seen[i] = atomicAdd(sum, T(2));
}
template <class T>
__global__ void extremes(T* low, T* high) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  const T x = static_cast<T>(i * 7 % 1000) - static_cast<T>(i % 2 == 0 ? 0 : 3);
  atomicMin(low, x);
  atomicMax(high, x);
}
template <class T>
__global__ void exchange(T* counter, T* bits, T* token, T* passed) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  T old = *counter;
  for (T before = old; (old = atomicCAS(counter, before, before + 1)) != before;) before = old;
  atomicOr(bits, T(1) << (i % 16));
  passed[i] = atomicExch(token, static_cast<T>(i + 1));
}

template <class T>
void check_add() {
  T sum = 1;
  std::vector<T> seen(300);
  cuda_emulator::launch(&add_all<T>, 3, 100, 0, nullptr, &sum, seen.data());
  CHECK(sum == T(601));
  std::sort(seen.begin(), seen.end());
  for (std::size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == static_cast<T>(1 + 2 * i));
}
template <class T>
void check_extremes() {
  T low = 500, high = 500;
  cuda_emulator::launch(&extremes<T>, 4, 250, 0, nullptr, &low, &high);
  T least = 500, most = 500;
  for (unsigned i = 0; i < 1000; ++i) {
    const T x = static_cast<T>(i * 7 % 1000) - static_cast<T>(i % 2 == 0 ? 0 : 3);
    least = std::min(least, x), most = std::max(most, x);
  }
  CHECK(low == least);
  CHECK(high == most);
}
template <class T>
void check_exchange() {
  T counter = 0, bits = 0, token = 0;
  std::vector<T> passed(200);
  cuda_emulator::launch(&exchange<T>, 2, 100, 0, nullptr, &counter, &bits, &token, passed.data());
  CHECK(counter == T(200));
  CHECK(bits == T(0xffff));
  passed.push_back(token);
  std::sort(passed.begin(), passed.end());
  for (std::size_t i = 0; i < passed.size(); ++i) CHECK(passed[i] == static_cast<T>(i));
}

}  // namespace

TEST_CASE("atomic operations lose nothing") {
  for (const int workers : {1, 3}) {
    cuda_emulator::options how = cuda_emulator::settings();
    how.workers = workers;
    const cuda_emulator::settings_scope scope(how);
    check_add<int>();
    check_add<unsigned>();
    check_add<unsigned long long>();
    check_add<float>();
    check_add<double>();
    check_extremes<int>();
    check_extremes<unsigned>();
    check_extremes<long long>();
    check_extremes<unsigned long long>();
    check_exchange<int>();
    check_exchange<unsigned>();
    check_exchange<unsigned long long>();
  }
}

TEST_CASE("counts in shared memory, and the last block to finish") {
  for (const int workers : {1, 3})
    for (const std::uint64_t seed : {0u, 11u}) {
      cuda_emulator::options how = cuda_emulator::settings();
      how.workers = workers, how.order_seed = seed;
      const cuda_emulator::settings_scope scope(how);
      std::vector<unsigned> x(8 * 96), bins(8);
      std::iota(x.begin(), x.end(), 0u);
      unsigned finished = 0, total = 0;
      cuda_emulator::launch(&emulated::histogram<0>, 8, 96, 0, nullptr, x.data(), bins.data(), &finished, &total);
      CHECK(bins == std::vector<unsigned>(8, 96));
      CHECK(finished == 8);
      CHECK(total == 8 * 96);
    }
}

TEST_CASE("bits") {
  CHECK(__popc(0xf0f0u) == 8);
  CHECK(__popcll(0xffffffffffffffffull) == 64);
  CHECK(__clz(1) == 31);
  CHECK(__clz(0) == 32);
  CHECK(__clz(-1) == 0);
  CHECK(__clzll(1) == 63);
  CHECK(__ffs(0) == 0);
  CHECK(__ffs(1) == 1);
  CHECK(__ffs(0x80) == 8);
  CHECK(__ffsll(1ll << 40) == 41);
  const double x = 2.5;
  CHECK(__ldg(&x) == 2.5);
}
