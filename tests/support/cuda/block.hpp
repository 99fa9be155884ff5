#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "fiber.hpp"
#include "types.hpp"

// One block: its threads, the fibers that carry them, its warps, and the shared memory that is sized at the launch.
// scheduler.hpp runs them.
namespace cuda_emulator::detail {

inline constexpr unsigned warp_lanes = 32;

/// Where in the source a thread waits, for messages.
struct place {
  const char* file;
  int line;
};
inline std::string text(place p) { return std::string(p.file) + ":" + std::to_string(p.line); }

enum class call_kind { sync, shuffle, vote };

/// What a lane brings to a warp's common operation, and what it takes away.
struct warp_call {
  call_kind kind;
  unsigned mask;
  std::uint64_t value;  // a shuffle's; of a vote 0 or 1
  unsigned source;      // the lane that a shuffle reads
  std::uint64_t result;
  char* key;  // ThreadSanitizer's name for the order that a sync makes
};

enum class thread_state : unsigned char { ready, at_barrier, in_warp_call, exited };

class block_runner;
struct carrier;

struct cuda_thread {
  unsigned rank = 0;
  uint3 index{};
  thread_state state = thread_state::exited;
  place where{};
  warp_call call{};
  carrier* on = nullptr;  // from its first step to its last
};

/// A fiber and the thread that it carries.
struct carrier {
  carrier(block_runner& runner, std::size_t stack_bytes, std::size_t number)
      : owner(&runner), context(&run, this, stack_bytes, number) {}
  static void run(void* self);

  block_runner* owner;
  cuda_thread* passenger = nullptr;
  fiber context;
};

/// Bits are lanes.
struct warp {
  unsigned present, ready, calling;
};

/// The shared memory whose size a launch says, with a margin on both sides that nobody may touch.
class shared_memory {
 public:
  static constexpr std::size_t alignment = 128, margin = 4096;

  /// Fresh for a block: contents are undefined.
  void renew(std::size_t bytes) {
    if (memory_.size() < bytes + 2 * margin + alignment) {
      allow(memory_.data(), memory_.size());
      memory_ = std::vector<unsigned char>(bytes + 2 * margin + alignment);
    }
    allow(memory_.data(), memory_.size());
    bytes_ = bytes;
    fill_poison(data(), bytes);
    std::memset(data() + bytes, mark, marked);
    forbid(memory_.data(), static_cast<std::size_t>(data() - memory_.data()));
    forbid(data() + bytes, static_cast<std::size_t>(memory_.data() + memory_.size() - (data() + bytes)));
  }
  shared_memory() = default;
  shared_memory(const shared_memory&) = delete;
  shared_memory& operator=(const shared_memory&) = delete;
  ~shared_memory() { allow(memory_.data(), memory_.size()); }

  [[nodiscard]] unsigned char* data() {
    const auto p = reinterpret_cast<std::uintptr_t>(memory_.data()) + margin + alignment - 1;
    return memory_.data() + (p / alignment * alignment - reinterpret_cast<std::uintptr_t>(memory_.data()));
  }
  /// Whether a kernel has written behind the end. AddressSanitizer says so at once and better.
  [[nodiscard]] bool overrun() {
    if (has_asan) return false;
    for (std::size_t i = 0; i < marked; ++i)
      if (data()[bytes_ + i] != mark) return true;
    return false;
  }

 private:
  static constexpr unsigned char mark = 0xC5;
  static constexpr std::size_t marked = 64;
  std::vector<unsigned char> memory_;
  std::size_t bytes_ = 0;
};

}  // namespace cuda_emulator::detail
