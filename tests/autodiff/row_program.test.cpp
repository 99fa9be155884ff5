#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/autodiff/row_program.hpp>
#include <stroma/backend/cpu/primitives.hpp>

#include "../support/counting_allocator.hpp"
#include "../support/matrices.hpp"

using namespace stroma_test;
using stroma::cpu_context;
using stroma::tile_scratch;

TEST_CASE_TEMPLATE("row_program: every row of every bag is visited once, in tiles counted from the bag's first row", T,
                   float, double) {
  for (const auto& sizes : bag_sizes) {
    auto with_empty = sizes;
    with_empty.insert(with_empty.begin(), 0);
    with_empty.push_back(0);
    const auto offsets = offsets_of_sizes(with_empty);
    for (const int threads : {1, 2, 3}) {
      cpu_context ctx(threads);
      std::vector<int> visits(static_cast<std::size_t>(offsets.back()));
      std::vector<index_t> number_of(visits.size());
      stroma::for_each_part<T>(
          ctx, as_offsets(offsets), 0, [&](const stroma::detail::segment_part& part, index_t number, tile_scratch<T>&) {
            const index_t start = offsets[static_cast<std::size_t>(part.segment)];
            if ((part.first - start) % stroma::tile_rows != 0 || part.count > stroma::tile_rows || part.count < 1)
              throw std::runtime_error("tile");
            for (index_t r = part.first; r < part.first + part.count; ++r) {
              ++visits[static_cast<std::size_t>(r)];
              number_of[static_cast<std::size_t>(r)] = number;
            }
          });
      CHECK(std::all_of(visits.begin(), visits.end(), [](int n) { return n == 1; }));
      CHECK(std::is_sorted(number_of.begin(), number_of.end()));
    }
  }
}

TEST_CASE_TEMPLATE("row_program: pieces of scratch start on cache lines and do not overlap", T, float, double) {
  cpu_context ctx(2);
  const index_t columns = tile_scratch<T>::padded(5) + tile_scratch<T>::padded(17);
  const auto call = [&](index_t rows) {
    stroma::for_each_tile<T>(ctx, rows, columns, [&](index_t, index_t count, tile_scratch<T>& scratch) {
      T* const a = scratch.take(count * 5);
      T* const b = scratch.take(count * 17);
      std::fill_n(scratch.buffer(), stroma::primitives<stroma::backend::cpu>::tile_buffer_size<T>(), T(3));
      std::fill_n(a, count * 5, T(1));
      std::fill_n(b, count * 17, T(2));
      const auto aligned = [](const T* p) {
        return reinterpret_cast<std::uintptr_t>(p) % stroma::storage_alignment == 0;
      };
      if (!aligned(a) || !aligned(b) || scratch.buffer()[0] != T(3) || a[count * 5 - 1] != T(1))
        throw std::runtime_error("scratch");
    });
  };
  for (const index_t rows : {0, 1, 31, 252, 253, 1025}) CHECK_NOTHROW(call(rows));
  CHECK(allocations_in([&] { call(1025); }) == 0);
}
