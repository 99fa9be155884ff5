// The kernels of the unit tests, a kernel that throws and one that diverges: no sanitizer may say a word.
#include <cstdio>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "../kernels.hpp"

namespace {

__global__ void fail() {
  const std::vector<int> memory(100, 1);
  __syncthreads();
  if (threadIdx.x == 7) throw std::out_of_range("seven");
  __syncthreads();
}
__global__ void diverge() {
  const std::vector<int> memory(100, 1);
  if (threadIdx.x > 40) return;
  __syncthreads();
}

bool run_all() {
  constexpr unsigned blocks = 4, size = 96, n = blocks * size;
  std::vector<double> x(n, 1.0), sums(blocks);
  std::vector<unsigned> numbers(n), ring(n), bins(8);
  std::vector<float> in(48 * 48), out(48 * 48);
  std::iota(numbers.begin(), numbers.end(), 0u);
  unsigned finished = 0, total = 0;
  double checksum = 0;
  cuda_emulator::launch(&emulated::tree_sum<double>, blocks, size, size * 8, nullptr, x.data(), sums.data());
  checksum += sums[3];
  cuda_emulator::launch(&emulated::warp_sum<double>, blocks, size, 0, nullptr, x.data(), sums.data());
  checksum += sums[3];
  cuda_emulator::launch(&emulated::warp_sum<double>, 2, 33, 0, nullptr, x.data(), sums.data());
  checksum += sums[1];
  cuda_emulator::launch(&emulated::warp_ring<0>, blocks, size, 0, nullptr, ring.data(), 4);
  cuda_emulator::launch(&emulated::histogram<0>, blocks, size, 0, nullptr, numbers.data(), bins.data(), &finished,
                        &total);
  cuda_emulator::launch(&emulated::transpose<16>, dim3(3, 3), dim3(16, 16), 0, nullptr, in.data(), out.data(), 48u);
  int thrown = 0;
  try {
    cuda_emulator::launch(&fail, blocks, size, 0, nullptr);
  } catch (const std::out_of_range&) {
    ++thrown;
  }
  try {
    cuda_emulator::launch(&diverge, blocks, size, 0, nullptr);
  } catch (const cuda_emulator::error&) {
    ++thrown;
  }
  return checksum == 96 + 96 + 33 && total == n && thrown == 2;
}

}  // namespace

int main() {
  bool right = true;
  for (const int workers : {1, 2})
    for (const std::uint64_t seed : {0u, 1u, 2u}) {
      cuda_emulator::settings().workers = workers;
      cuda_emulator::settings().order_seed = seed;
      right = run_all() && right;
    }
  std::puts(right ? "right" : "wrong");
  return right ? 0 : 1;
}
