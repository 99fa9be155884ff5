// Races within a block, for ThreadSanitizer: `race <n>` runs the n-th. With PLANTED_CORRECT the missing barriers are
// there, and nothing may be reported.
#include <cstdlib>
#include <vector>

#include "support/cuda/emulator.hpp"

#if defined(PLANTED_CORRECT)
#define MISSING_BLOCK_BARRIER __syncthreads()
#define MISSING_WARP_BARRIER __syncwarp()
#else
#define MISSING_BLOCK_BARRIER static_cast<void>(0)
#define MISSING_WARP_BARRIER static_cast<void>(0)
#endif

namespace {

__global__ void read_too_early(int* out) {
  __shared__ int room[64];
  room[threadIdx.x] = static_cast<int>(threadIdx.x);
  MISSING_BLOCK_BARRIER;
  out[threadIdx.x] = room[63 - threadIdx.x];
}
/// Between two barriers that are there.
__global__ void overwrite_too_early(int* out) {
  STROMA_DYNAMIC_SHARED(int, room);
  room[threadIdx.x] = static_cast<int>(threadIdx.x);
  __syncthreads();
  const int other = room[63 - threadIdx.x];
  MISSING_BLOCK_BARRIER;
  room[threadIdx.x] = other + 1;
  __syncthreads();
  out[threadIdx.x] = room[63 - threadIdx.x];
}
__global__ void warp_reads_too_early(int* out) {
  __shared__ int room[64];
  room[threadIdx.x] = static_cast<int>(threadIdx.x);
  MISSING_WARP_BARRIER;
  out[threadIdx.x] = room[threadIdx.x ^ 1];
}
__global__ void warp_overwrites_too_early(int* out) {
  __shared__ int room[64];
  room[threadIdx.x] = static_cast<int>(threadIdx.x);
  __syncwarp();
  const int other = room[threadIdx.x ^ 1];
  MISSING_WARP_BARRIER;
  room[threadIdx.x] = other + 1;
  __syncwarp();
  out[threadIdx.x] = room[threadIdx.x ^ 1];
}
/// A shuffle hands values on, but orders no memory.
__global__ void shuffle_is_no_barrier(int* out) {
  __shared__ int room[64];
  room[threadIdx.x] = static_cast<int>(threadIdx.x);
  const int other = __shfl_xor_sync(0xffffffffu, 1, 1);
  MISSING_WARP_BARRIER;
  out[threadIdx.x] = room[threadIdx.x ^ 1] + other;
}
__global__ void plain_beside_atomic(int* out) {
  __shared__ int sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  if (threadIdx.x > 0) atomicAdd(&sum, 1);
  MISSING_BLOCK_BARRIER;
  if (threadIdx.x == 0) out[0] = sum;
}

}  // namespace

int main(int, char** arguments) {
  void (*const kernels[])(int*) = {&read_too_early,        &overwrite_too_early,
                                   &warp_reads_too_early,  &warp_overwrites_too_early,
                                   &shuffle_is_no_barrier, &plain_beside_atomic};
  std::vector<int> out(64);
  for (const std::uint64_t seed : {0u, 1u, 2u}) {
    cuda_emulator::settings().order_seed = seed;
    cuda_emulator::launch(kernels[std::atoi(arguments[1])], 1, 64, 64 * sizeof(int), nullptr, out.data());
  }
}
