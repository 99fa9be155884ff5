#pragma once
#include "support/cuda/emulator.hpp"

// Kernels as a library has them: right ones, for the tests and for the programs that sanitizers look at.
namespace emulated {

inline constexpr unsigned all_lanes = 0xffffffffu;

/// The lanes of this thread's warp that the block has.
template <int = 0>
__device__ unsigned present_lanes() {
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z, first = threadIdx.x / 32 * 32;
  return threads - first >= 32 ? all_lanes : (1u << (threads - first)) - 1;
}

/// sum[block] = the sum of the block's part of x, over shared memory, for blocks of any size.
template <class T>
__global__ void tree_sum(const T* x, T* sum) {
  STROMA_DYNAMIC_SHARED(T, room);
  room[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  for (unsigned left = blockDim.x; left > 1; left = (left + 1) / 2) {
    const unsigned half = (left + 1) / 2;
    if (threadIdx.x + half < left) room[threadIdx.x] += room[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) sum[blockIdx.x] = room[0];
}

/// The same with shuffles within warps; partial warps add what they have.
template <class T>
__global__ void warp_sum(const T* x, T* sum) {
  __shared__ T room[32];
  T mine = x[blockIdx.x * blockDim.x + threadIdx.x];
  const unsigned lane = threadIdx.x % 32, mask = present_lanes();
  for (unsigned step = 16; step > 0; step /= 2) {
    const T other = __shfl_down_sync(mask, mine, step);
    if ((mask >> lane >> step & 1) != 0 && lane + step < 32) mine += other;
  }
  if (lane == 0) room[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x != 0) return;
  T all = room[0];
  for (unsigned w = 1; w < (blockDim.x + 31) / 32; ++w) all += room[w];
  sum[blockIdx.x] = all;
}

/// Every lane hands a value on through shared memory, warp by warp, again and again.
template <int = 0>
__global__ void warp_ring(unsigned* out, int rounds) {
  __shared__ unsigned room[1024];
  const unsigned lane = threadIdx.x % 32, first = threadIdx.x - lane;
  room[threadIdx.x] = threadIdx.x;
  for (int i = 0; i < rounds; ++i) {
    __syncwarp();
    const unsigned next = room[first + (lane + 1) % 32];
    __syncwarp();
    room[threadIdx.x] = next;
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = room[threadIdx.x];
}

/// bins[x % 8] counts, gathered in shared memory; `last` says which block was the last to finish.
template <int = 0>
__global__ void histogram(const unsigned* x, unsigned* bins, unsigned* finished, unsigned* total) {
  __shared__ unsigned own[8];
  __shared__ unsigned turn;
  if (threadIdx.x < 8) own[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&own[x[blockIdx.x * blockDim.x + threadIdx.x] % 8], 1u);
  __syncthreads();
  if (threadIdx.x < 8) atomicAdd(&bins[threadIdx.x], own[threadIdx.x]);
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) turn = atomicAdd(finished, 1u);
  __syncthreads();
  if (turn != gridDim.x - 1 || threadIdx.x != 0) return;
  unsigned sum = 0;
  for (unsigned b = 0; b < 8; ++b) sum += atomicAdd(&bins[b], 0u);
  *total = sum;
}

/// out = the transpose of in, both [n x n], tile by tile.
template <unsigned tile>
__global__ void transpose(const float* in, float* out, unsigned n) {
  __shared__ float room[tile][tile + 1];
  const unsigned row = blockIdx.y * tile + threadIdx.y, col = blockIdx.x * tile + threadIdx.x;
  if (row < n && col < n) room[threadIdx.y][threadIdx.x] = in[row * n + col];
  __syncthreads();
  const unsigned to_row = blockIdx.x * tile + threadIdx.y, to_col = blockIdx.y * tile + threadIdx.x;
  if (to_row < n && to_col < n) out[to_row * n + to_col] = room[threadIdx.x][threadIdx.y];
}

}  // namespace emulated
