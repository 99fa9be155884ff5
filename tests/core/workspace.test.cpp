#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/workspace.hpp>

#include "../support/counting_allocator.hpp"

using stroma::index_t;

namespace {

struct ledger {
  int taken = 0, open = 0;
  std::size_t bytes = 0;
  bool refuse = false, keep = false;  // what is asked for, what is given back
};

/// Host memory with a record of what is taken and given back.
struct counting_resource {
  ledger* book;
  void* allocate(std::size_t bytes) {
    if (book->refuse) throw std::bad_alloc();
    ++book->taken;
    ++book->open;
    book->bytes += bytes;
    return stroma::host_resource::allocate(bytes);
  }
  bool deallocate(void* p, std::size_t bytes) noexcept {
    if (book->keep) return false;
    --book->open;
    book->bytes -= bytes;
    return stroma::host_resource::deallocate(p, bytes);
  }
};

using workspace = stroma::basic_workspace<counting_resource>;

bool aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % stroma::storage_alignment == 0; }

}  // namespace

TEST_CASE("workspace: what is taken is aligned, apart and writable") {
  stroma::workspace w;
  auto scratch = w.open();
  std::vector<unsigned char*> pieces;
  for (const index_t n : {0, 1, 63, 64, 65, 1025, 0, 5000}) {
    auto* p = scratch.take<unsigned char>(n);
    CHECK(p != nullptr);
    CHECK(aligned(p));
    std::memset(p, static_cast<int>(pieces.size()), static_cast<std::size_t>(n));
    pieces.push_back(p);
  }
  CHECK(pieces[2][62] == 2);
  CHECK(pieces[5][0] == 5);
  CHECK(pieces[5][1024] == 5);
  CHECK(pieces[0] != pieces[1]);
  CHECK(aligned(scratch.take<double>(3)));
  CHECK(aligned(scratch.take<char>(3)));
}

TEST_CASE("workspace: a frame's end gives its memory to the next frame") {
  stroma::workspace w;
  auto outer = w.open();
  int* kept = outer.take<int>(10);
  kept[9] = 7;
  int* first = nullptr;
  {
    auto inner = w.open();
    first = inner.take<int>(100);
    first[0] = 1;
  }
  {
    auto inner = w.open();
    int* again = inner.take<int>(100);
    CHECK(again == first);
    again[99] = 2;
    auto innermost = w.open();
    int* apart = innermost.take<int>(100);
    apart[0] = 3;
    CHECK(again[99] == 2);
    CHECK(apart != again);
  }
  CHECK(outer.take<int>(1) == first);
  CHECK(kept[9] == 7);
}

TEST_CASE("workspace: blocks never move while a frame is open, and merge when the last one closes") {
  ledger book;
  {
    workspace w{counting_resource{&book}};
    const auto call = [&w] {
      auto outer = w.open();
      char* a = outer.take<char>(100);
      a[99] = 'a';
      for (int round = 0; round < 3; ++round) {
        auto inner = w.open();
        char* b = inner.take<char>(1000 * (round + 1));
        b[0] = 'b';
      }
      char* c = outer.take<char>(50);
      c[0] = 'c';
      return a[99] == 'a';
    };
    CHECK(w.capacity() == 0);
    CHECK(call());
    CHECK(book.taken > 1);
    CHECK(book.open == 1);  // merged
    const std::size_t capacity = w.capacity();
    CHECK(capacity == book.bytes);
    CHECK(capacity >= 128 + 3008);
    const int before = book.taken;
    CHECK(call());
    CHECK(call());
    CHECK(book.taken == before);
    CHECK(w.capacity() == capacity);
    w.release();
    CHECK(book.open == 0);
    CHECK(w.capacity() == 0);
    CHECK(call());
  }
  CHECK(book.open == 0);
  CHECK(book.bytes == 0);
}

TEST_CASE("workspace: calls that grow step by step hold at most a small multiple of what they need") {
  stroma::workspace w;
  for (index_t n = 1; n <= 4096; n += 64) {
    auto scratch = w.open();
    scratch.take<double>(n)[n - 1] = 1;
  }
  CHECK(w.capacity() <= 4 * 4096 * sizeof(double));
}

TEST_CASE("workspace: the second call of a size takes nothing from the system") {
  stroma::workspace w;
  const auto call = [&w] {
    auto scratch = w.open();
    float* a = scratch.take<float>(1000);
    a[0] = 0;
    auto inner = w.open();
    double* b = inner.take<double>(5000);
    b[0] = 0;
  };
  call();
  const std::size_t second = allocations_in(call), third = allocations_in(call);
  CHECK(second == 0);
  CHECK(third == 0);
}

TEST_CASE("workspace: memory that is refused harms nothing") {
  ledger book;
  workspace w{counting_resource{&book}};
  {
    auto scratch = w.open();
    int* a = scratch.take<int>(4);
    a[3] = 3;
    book.refuse = true;
    CHECK_THROWS_AS(static_cast<void>(scratch.take<int>(1000)), std::bad_alloc);
    {
      auto inner = w.open();
      CHECK_THROWS_AS(static_cast<void>(inner.take<int>(1000)), std::bad_alloc);
    }
    book.refuse = false;
    int* b = scratch.take<int>(1000);
    b[0] = 1;
    CHECK(a[3] == 3);
    book.refuse = true;  // now the merge fails, which nobody notices
  }
  CHECK(book.open == 0);
  book.refuse = false;
  auto scratch = w.open();
  CHECK(scratch.take<int>(10) != nullptr);
}

TEST_CASE("workspace: memory that is not taken back stays in use, and goes when it may") {
  ledger book;
  {
    workspace w{counting_resource{&book}};
    const auto call = [&w] {
      auto scratch = w.open();
      char* a = scratch.take<char>(100);
      char* b = scratch.take<char>(1000);
      a[99] = b[999] = 'a';
    };
    book.keep = true;
    call();
    CHECK(book.open == 2);
    CHECK(w.capacity() == book.bytes);
    call();
    CHECK(book.taken == 2);
    w.release();
    CHECK(w.capacity() == book.bytes);
    book.keep = false;
    call();
    CHECK(book.open == 1);  // merged
    CHECK(book.taken == 3);
  }
  CHECK(book.open == 0);
}

TEST_CASE("workspace: a count whose bytes cannot be counted is refused") {
  stroma::workspace w;
  auto scratch = w.open();
  CHECK_THROWS_AS(static_cast<void>(scratch.take<double>(std::numeric_limits<index_t>::max())),
                  std::bad_array_new_length);
  CHECK_THROWS_AS(static_cast<void>(scratch.take<double>(std::numeric_limits<index_t>::max() / 4 + 1)),
                  std::bad_array_new_length);
}
