// Accesses beyond dynamic shared memory and a fiber's own arrays, for AddressSanitizer: `out_of_bounds_shared <n>`
// makes the n-th. With PLANTED_CORRECT nothing may be reported.
#include <cstdlib>

#include "support/cuda/emulator.hpp"

#if defined(PLANTED_CORRECT)
constexpr unsigned beyond = 0;
#else
constexpr unsigned beyond = 1;
#endif

namespace {

__global__ void write_behind(float* out, unsigned count) {
  STROMA_DYNAMIC_SHARED(float, room);
  room[threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 0) room[count - 1 + beyond] = 2;
  __syncthreads();
  out[threadIdx.x] = room[threadIdx.x];
}
__global__ void read_before(float* out, unsigned) {
  STROMA_DYNAMIC_SHARED(float, room);
  room[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = (room + threadIdx.x)[-static_cast<int>(beyond * (threadIdx.x + 1))];
}
__global__ void own_array(float* out, unsigned count) {
  float mine[8];
  for (unsigned i = 0; i < 8; ++i) mine[i] = static_cast<float>(i + count);
  __syncthreads();
  volatile unsigned at = 7 + beyond;
  out[threadIdx.x] = mine[at];
}

}  // namespace

int main(int, char** arguments) {
  void (*const kernels[])(float*, unsigned) = {&write_behind, &read_before, &own_array};
  float out[33];
  cuda_emulator::launch(kernels[std::atoi(arguments[1])], 1, 33, sizeof out, nullptr, out, 33u);
}
