#pragma once
#include <algorithm>
#include <cassert>
#include <cstddef>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include <stroma/core/view.hpp>

namespace stroma {

/// A cache line and the widest SIMD register. Fixed, never taken from compiler flags: memory made in one
/// translation unit is freed in another that may have been built with different ones.
inline constexpr std::size_t storage_alignment = 64;

/// Where a workspace gets its blocks from on the host.
struct host_resource {
  [[nodiscard]] static void* allocate(std::size_t bytes) {
    return ::operator new(bytes, std::align_val_t{storage_alignment});
  }
  /// Whether the memory was taken back.
  static bool deallocate(void* p, std::size_t) noexcept {
    ::operator delete(p, std::align_val_t{storage_alignment});
    return true;
  }
};

/// Scratch memory as a stack of frames. A frame's end gives back what was taken in it; blocks never move while a
/// frame is open, and when the last frame closes they merge into one of the peak size, so that later calls of the
/// same size allocate nothing. Not thread-safe: one for each context.
template <class Resource = host_resource>
class basic_workspace {
 public:
  class frame {
   public:
    explicit frame(basic_workspace& w) noexcept
        : workspace_(&w), block_(w.block_), used_(w.used_), depth_(++w.depth_) {}
    frame(const frame&) = delete;
    frame& operator=(const frame&) = delete;
    ~frame() {
      assert(depth_ == workspace_->depth_);
      workspace_->close(block_, used_);
    }

    /// Room for `count` objects of T, uninitialised, aligned to `storage_alignment`. Only the innermost open frame
    /// may take: what an outer one took meanwhile would be given back with the inner.
    template <class T>
    [[nodiscard]] T* take(index_t count) {
      assert(count >= 0 && depth_ == workspace_->depth_);
      if (static_cast<std::size_t>(count) > (std::numeric_limits<std::size_t>::max() - storage_alignment) / sizeof(T))
        throw std::bad_array_new_length();
      return static_cast<T*>(workspace_->take(static_cast<std::size_t>(count) * sizeof(T)));
    }

   private:
    basic_workspace* workspace_;
    std::size_t block_, used_;
    int depth_;
  };

  basic_workspace() = default;
  explicit basic_workspace(Resource resource) : resource_(std::move(resource)) {}
  basic_workspace(const basic_workspace&) = delete;
  basic_workspace& operator=(const basic_workspace&) = delete;
  ~basic_workspace() { release(); }

  [[nodiscard]] frame open() { return frame(*this); }
  /// Bytes held, whether in use or not.
  [[nodiscard]] std::size_t capacity() const noexcept {
    std::size_t sum = 0;
    for (const block& b : blocks_) sum += b.bytes;
    return sum;
  }
  /// Gives all memory back. No frame may be open. What is not taken back, as by a device in a capture, stays in use.
  void release() noexcept {
    assert(depth_ == 0);
    std::erase_if(blocks_, [this](const block& b) { return resource_.deallocate(b.data, b.bytes); });
    block_ = used_ = 0;
  }

 private:
  struct block {
    std::byte* data;
    std::size_t bytes;
  };

  void* take(std::size_t bytes) {
    bytes = (std::max<std::size_t>(bytes, 1) + storage_alignment - 1) / storage_alignment * storage_alignment;
    while (block_ < blocks_.size() && used_ + bytes > blocks_[block_].bytes) {
      ++block_;
      used_ = 0;
    }
    if (block_ == blocks_.size()) {
      blocks_.reserve(blocks_.size() + 1);  // so that a failing push_back cannot lose the block
      blocks_.push_back({static_cast<std::byte*>(resource_.allocate(bytes)), bytes});
    }
    std::byte* p = blocks_[block_].data + used_;
    used_ += bytes;
    return p;
  }

  void close(std::size_t block_index, std::size_t used) noexcept {
    block_ = block_index;
    used_ = used;
    if (--depth_ != 0 || blocks_.size() < 2) return;
    const std::size_t total = capacity();
    release();
    if (!blocks_.empty()) return;
    try {
      blocks_.push_back({static_cast<std::byte*>(resource_.allocate(total)), total});
    } catch (...) {
      blocks_.clear();  // the next take() tries again and reports
    }
  }

  [[no_unique_address]] Resource resource_{};
  std::vector<block> blocks_;
  std::size_t block_ = 0, used_ = 0;
  int depth_ = 0;
};

using workspace = basic_workspace<host_resource>;

}  // namespace stroma
