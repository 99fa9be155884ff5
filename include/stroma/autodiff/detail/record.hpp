#pragma once
#include <cstdint>

#include <stroma/autodiff/row_program.hpp>
#include <stroma/core/tensor.hpp>

namespace stroma {

/// A value on a graph: a matrix of rows (instances, bags, samples) by features. Valid until the graph's reset.
struct node {
  index_t id = -1;
};

/// Training records every verb, so that backward() can be called; inference records nothing, and a chain of verbs
/// that work row by row is evaluated tile by tile where it is consumed, without ever being stored.
enum class graph_mode { training, inference };

template <class T, class Backend = backend::cpu>
class graph;

namespace detail {

/// In what type the elements of an input are stored; all other values are in the graph's scalar.
enum class storage_type { native, half, bfloat16 };

/// What a graph keeps of a node.
template <class T, class Backend>
struct graph_record {
  using space = typename Backend::space;
  matrix_view<const T, space> value{};  ///< without data: not computed (by_rows) or in 16-bit storage (narrow)
  matrix_view<T, space> gradient{};     ///< without data: none has arrived
  index_t rows{}, cols{};
  vector_view<const index_t, space> offsets{};  ///< of ragged bags; empty: one bag
  index_t scratch_cols{};                       ///< columns of scratch that a tile needs
  bool needs_gradient = false;
  storage_type storage = storage_type::native;
  matrix_view<const std::uint16_t, space> narrow{};
  const void* closure = nullptr;
  void (*backward)(const void*, graph<T, Backend>&) = nullptr;
  void (*by_rows)(const void*, const graph<T, Backend>&, index_t, matrix_view<T, space>, tile_scratch<T>&) = nullptr;
};

}  // namespace detail
}  // namespace stroma
