#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include <stroma/pooling/detail/bags.hpp>

/// What the poolings without parameters share: a walk over the instances that take part, and their number.
namespace stroma::detail {

template <class Space>
[[nodiscard]] STROMA_HOST_DEVICE bool takes_part(const vector_view<const std::uint8_t, Space>& mask, index_t instance) {
  return mask.size == 0 || mask[instance] != 0;
}

/// How many instances of bag b take part.
[[nodiscard]] inline index_t count_taking_part(vector_view<const index_t> offsets, index_t b,
                                               vector_view<const std::uint8_t> mask) {
  if (mask.size == 0) return offsets[b + 1] - offsets[b];
  index_t sum = 0;
  for (index_t n = offsets[b]; n < offsets[b + 1]; ++n) sum += mask[n] != 0;
  return sum;
}

/// Throws at the first feature of the row that is not finite.
template <class T>
void check_instance(std::string_view function, index_t cols, const T* row, index_t instance, index_t bag) {
  using s = simd<T>;
  auto zeros = s::set(T(0));  // becomes NaN where x is infinite or NaN
  const auto zero = zeros;
  index_t j = 0;
  for (; j + s::lanes <= cols; j += s::lanes) zeros = s::fma(s::load(row + j), zero, zeros);
  if (j < cols) zeros = s::fma(s::load_part(row + j, cols - j), zero, zeros);
  if (s::sum(zeros) == T(0)) return;
  for (j = 0; j < cols; ++j)
    if (!std::isfinite(row[j]))
      throw value_error(error_message(function, "instances",
                                      number_text(static_cast<double>(row[j])) + " at instance " +
                                          std::to_string(instance) + " of bag " + std::to_string(bag) + ", column " +
                                          std::to_string(j),
                                      "finite features"));
}

/// What a pooling is asked for, in one piece for the kernels.
template <class Space>
struct pool_request_in {
  std::string_view function;
  vector_view<const std::uint8_t, Space> mask;
  bool check_values;
};
using pool_request = pool_request_in<host_space>;

/// tile(number of the part, rows of the part [rows, D] in T with unit columns, f) for every part of every bag, in
/// parallel; f(g) calls g(row of the part, its features) for the instances that take part.
template <class T, class Rows, class Tile>
void for_each_instance_tile(cpu_context& ctx, const Rows& source, index_t cols, vector_view<const index_t> offsets,
                            const pool_request& request, Tile&& tile) {
  const index_t columns = source.scratch_cols() + tile_scratch<T>::padded(cols);
  for_each_part<T>(ctx, offsets, columns, [&](const segment_part& part, index_t number, tile_scratch<T>& scratch) {
    source.visit(part.first, part.count, scratch, [&](auto rows) {
      const auto x = wide_rows<T>(rows, scratch);
      const auto instances = [&](auto&& each) {
        for (index_t i = 0; i < part.count; ++i)
          if (takes_part(request.mask, part.first + i)) each(i, static_cast<const T*>(x.data + i * x.row_stride));
      };
      if (request.check_values)
        instances([&](index_t i, const T* row) {
          check_instance(request.function, cols, row, part.first + i - offsets[part.segment], part.segment);
        });
      tile(part, number, instances);
    });
  });
}

/// f(bag, number of its first part, number of its parts) in order.
template <class F>
void for_each_bag(vector_view<const index_t> offsets, F&& f) {
  for (index_t b = 0, first = 0; b + 1 < offsets.size; ++b) {
    const index_t parts = (offsets[b + 1] - offsets[b] + tile_rows - 1) / tile_rows;
    f(b, first, parts);
    first += parts;
  }
}

/// Checks of a pooling's arguments that need no look at the features.
template <class Context, class Offsets, class Out, class Mask>
void check_pool(Context& ctx, std::string_view function, const Offsets& offsets, index_t rows, index_t cols,
                const Out& out, const Mask& mask) {
  using checks = value_checks<typename Context::backend>;
  checks::offsets(ctx, function, "offsets", offsets, rows);
  checks::bags(ctx, function, offsets, rows, mask);
  check::shape(function, "out", out, offsets.size - 1, cols);
}

}  // namespace stroma::detail
