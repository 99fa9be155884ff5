#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

// CUDA's small types, and the emulator's error.

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

struct CUstream_st;
using cudaStream_t = CUstream_st*;

namespace cuda_emulator {

/// A kernel, or its launch, did what CUDA forbids. The text names the kind of mistake, the block and the thread.
struct error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What memory holds that nobody has written: in pairs of bytes, so that float, double, half and bfloat16 read NaN,
/// which spreads, and integers read neither 0 nor -1.
inline constexpr std::uint16_t poison = 0xfffb;

inline void fill_poison(void* p, std::size_t bytes) {
  if (bytes == 0) return;
  auto* const to = static_cast<unsigned char*>(p);
  std::size_t done = std::min(bytes, sizeof poison);
  std::memcpy(to, &poison, done);
  for (std::size_t more = 0; done < bytes; done += more) {
    more = std::min(done, bytes - done);
    std::memcpy(to + done, to, more);
  }
}

namespace detail {

inline std::string text(uint3 v) {
  return "(" + std::to_string(v.x) + ", " + std::to_string(v.y) + ", " + std::to_string(v.z) + ")";
}

}  // namespace detail
}  // namespace cuda_emulator
