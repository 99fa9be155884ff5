// Mistakes with device memory, for AddressSanitizer: `out_of_bounds_global <n>` makes the n-th. With PLANTED_CORRECT
// nothing may be reported.
#include <cstdlib>

#include "support/cuda/emulator.hpp"

#if defined(PLANTED_CORRECT)
constexpr bool correct = true;
#else
constexpr bool correct = false;
#endif

namespace {

__global__ void write(float* p, int count) {
  const auto i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) p[i] = 1;
  __syncthreads();
}

void behind() {
  float* p = nullptr;
  cudaMalloc(&p, 100 * sizeof(float));
  cuda_emulator::launch(&write, 2, 64, 0, nullptr, p, correct ? 100 : 101);
  cudaFree(p);
}
void after_free() {
  float* p = nullptr;
  cudaMallocAsync(&p, 100 * sizeof(float), nullptr);
  if (!correct) cudaFreeAsync(p, nullptr);
  cuda_emulator::launch(&write, 2, 64, 0, nullptr, p, 100);
  if (correct) cudaFreeAsync(p, nullptr);
}
void leak() {
  // Several: the last address may still lie about in a register, where the leak checker finds it.
  for (int i = 0; i < 10; ++i) {
    float* p = nullptr;
    cudaMalloc(&p, 100 * sizeof(float));
    if (correct) cudaFree(p);
  }
}

}  // namespace

int main(int, char** arguments) {
  void (*const mistakes[])() = {&behind, &after_free, &leak};
  mistakes[std::atoi(arguments[1])]();
}
