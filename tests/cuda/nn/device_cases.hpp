#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/autodiff/graph.hpp>
#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/backend/cuda/array.cuh>
#include <stroma/backend/cuda/primitives.cuh>

#include "support/cuda/check_cost.hpp"
#include "support/device.hpp"
#include "support/matrices.hpp"

/// What the tests of verbs on a device share.
namespace stroma_test {

template <class T>
using device_matrix_view = stroma::matrix_view<T, stroma::device_space>;
template <class T>
using device_graph = stroma::graph<T, stroma::backend::cuda>;
using device_mask_view = stroma::vector_view<const std::uint8_t, stroma::device_space>;

/// A host matrix on the device in the given layout. What lies between its elements holds NaN and must stay.
template <class T>
class laid_out_on_device {
 public:
  laid_out_on_device(stroma::cuda_context& ctx, stroma::matrix_view<const T> m, layout how) {
    index_t row = m.cols, col = 1;
    if (how == layout::padded_rows) row = m.cols + 5;
    if (how == layout::columns) row = 1, col = m.rows;
    if (how == layout::apart) row = 3 * m.cols + 2, col = 3;
    host_ = stroma::array<T, 1>(m.rows * row + m.cols * col + 1);
    std::memset(static_cast<void*>(host_.data()), 0xff, static_cast<std::size_t>(host_.size()) * sizeof(T));
    at_ = {host_.data(), m.rows, m.cols, row, col};
    for (index_t r = 0; r < m.rows; ++r)
      for (index_t c = 0; c < m.cols; ++c) at_(r, c) = m(r, c);
    memory_ = on_device(ctx, host_);
  }
  laid_out_on_device(const laid_out_on_device&) = delete;
  laid_out_on_device& operator=(const laid_out_on_device&) = delete;

  [[nodiscard]] device_matrix_view<T> view() {
    return {memory_.data(), at_.rows, at_.cols, at_.row_stride, at_.col_stride};
  }
  /// The elements now; waits.
  [[nodiscard]] stroma::array<T, 2> elements(stroma::cuda_context& ctx) const {
    const auto now = on_host(ctx, memory_);
    stroma::array<T, 2> m(at_.rows, at_.cols);
    for (index_t r = 0; r < m.rows(); ++r)
      for (index_t c = 0; c < m.cols(); ++c) m(r, c) = now[r * at_.row_stride + c * at_.col_stride];
    return m;
  }
  [[nodiscard]] bool gaps_untouched(stroma::cuda_context& ctx) const {
    auto now = on_host(ctx, memory_);
    for (index_t r = 0; r < at_.rows; ++r)
      for (index_t c = 0; c < at_.cols; ++c)
        std::memset(static_cast<void*>(&now[r * at_.row_stride + c * at_.col_stride]), 0xff, sizeof(T));
    const auto* const bytes = reinterpret_cast<const unsigned char*>(now.data());
    return std::all_of(bytes, bytes + static_cast<std::size_t>(now.size()) * sizeof(T),
                       [](unsigned char b) { return b == 0xff; });
  }

 private:
  stroma::array<T, 1> host_;
  stroma::matrix_view<T> at_;
  device_vector<T> memory_;
};

/// Ragged bags on the device: instances as they lie, and a copy of the offsets.
class offsets_on_device {
 public:
  offsets_on_device(stroma::cuda_context& ctx, const std::vector<index_t>& offsets)
      : memory_(on_device(ctx, offsets)) {}
  [[nodiscard]] stroma::vector_view<const index_t, stroma::device_space> view() const {
    return {memory_.data(), memory_.size()};
  }
  template <class T>
  [[nodiscard]] stroma::bag_view<T, stroma::device_space> of(const device_matrix_view<T>& instances) const {
    return {instances, view()};
  }

 private:
  device_vector<index_t> memory_;
};
template <class T>
stroma::bag_view<const T> host_bags(const stroma::array<T, 2>& x, const std::vector<index_t>& offsets) {
  return {stroma::as_const_view(x), as_offsets(offsets)};
}

/// Every bag keeps its last instance; of the others about a third is left out.
inline std::vector<std::uint8_t> partial_mask(const std::vector<index_t>& offsets) {
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(offsets.back()));
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = static_cast<std::uint8_t>(i * 7919 % 3);
  for (std::size_t b = 1; b < offsets.size(); ++b)
    if (offsets[b] > 0) mask[static_cast<std::size_t>(offsets[b]) - 1] = 1;
  return mask;
}

/// Largest |found - expected| in units of eps (terms + 8) size.
template <class T>
double error_of_sum(const stroma::array<T, 2>& found, const stroma::array<T, 2>& expected, index_t terms, double size) {
  if (found.extents() != expected.extents()) return std::numeric_limits<double>::infinity();
  return worst_error(
      found, [&](index_t r, index_t c) { return expected(r, c); },
      static_cast<double>(std::numeric_limits<T>::epsilon()) * (static_cast<double>(terms) + 8) * size);
}
/// Largest |found - expected| in units of eps (1 + |expected|) ulps, for functions of single elements. Infinities must
/// be the same.
template <class T>
double error_of_function(const stroma::array<T, 2>& found, const stroma::array<T, 2>& expected, double ulps = 16) {
  return worst_error(
      found, [&](index_t r, index_t c) { return expected(r, c); },
      [&](index_t r, index_t c) {
        return ulps * static_cast<double>(std::numeric_limits<T>::epsilon()) *
               (1 + std::abs(static_cast<double>(expected(r, c))));
      });
}
template <class T>
stroma::array<T, 2> as_row(const stroma::array<T, 1>& v) {
  stroma::array<T, 2> m(1, v.size());
  std::copy(v.begin(), v.end(), m.begin());
  return m;
}

/// A node with the value of `x` and the row boundaries of `like`: ragged data that needs a gradient.
template <class T, class Backend>
stroma::node with_bags(stroma::graph<T, Backend>& g, stroma::node like, stroma::node x) {
  using ops = stroma::primitives<Backend>;
  const auto emitted = g.emit_rows_of(like, g.shape(x).cols, {x});
  const stroma::node out = emitted.first;
  ops::copy(g.context(), g.value(x), emitted.second);
  g.on_backward(out,
                [=](stroma::graph<T, Backend>& r) { ops::axpy(r.context(), T(1), r.gradient(out), r.gradient_of(x)); });
  return out;
}

/// What a recorded verb gives: its value, and the gradients of its inputs for a given derivative of the value.
template <class T>
struct recorded {
  stroma::array<T, 2> value;
  std::vector<stroma::array<T, 2>> gradients;
};
/// record(graph, nodes): the last node. The first input carries the bags of `offsets` unless those are empty.
template <class T, class Record>
recorded<T> recorded_on_host(const std::vector<stroma::array<T, 2>>& inputs, const std::vector<index_t>& offsets,
                             Record record) {
  stroma::cpu_context ctx;
  stroma::graph<T> g(ctx);
  g.set_random(7, 3);
  recorded<T> result;
  for (const auto& m : inputs) result.gradients.emplace_back(m.rows(), m.cols());
  std::vector<stroma::node> nodes;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    nodes.push_back(g.variable(stroma::as_const_view(inputs[i]), stroma::as_view(result.gradients[i])));
  if (!offsets.empty()) nodes[0] = with_bags(g, g.input(host_bags(inputs[0], offsets)), nodes[0]);
  const stroma::node out = record(g, nodes);
  const auto v = g.value(out);
  result.value = stroma::array<T, 2>(v.rows, v.cols);
  stroma::primitives<stroma::backend::cpu>::copy(ctx, v, stroma::as_view(result.value));
  g.backward(out, stroma::as_const_view(normal_matrix<T>(v.rows, v.cols, 99)));
  return result;
}
template <class T, class Record>
recorded<T> recorded_on_device(const std::vector<stroma::array<T, 2>>& inputs, const std::vector<index_t>& offsets,
                               Record record) {
  stroma::cuda_context ctx;
  device_graph<T> g(ctx);
  g.set_random(7, 3);
  std::vector<device_array<T>> x, d;
  std::vector<stroma::node> nodes;
  for (const auto& m : inputs) {
    x.push_back(on_device(ctx, m));
    d.emplace_back(m.rows(), m.cols());
  }
  const offsets_on_device bags(ctx, offsets.empty() ? std::vector<index_t>{0} : offsets);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    nodes.push_back(g.variable(stroma::as_const_view(x[i]), stroma::as_view(d[i])));
  if (!offsets.empty()) nodes[0] = with_bags(g, g.input(bags.of(stroma::as_const_view(x[0]))), nodes[0]);
  const stroma::node out = record(g, nodes);
  const auto v = g.value(out);
  recorded<T> result;
  device_array<T> value(v.rows, v.cols);
  stroma::primitives<stroma::backend::cuda>::copy(ctx, v, stroma::as_view(value));
  result.value = on_host(ctx, value);
  const auto derivative = on_device(ctx, normal_matrix<T>(v.rows, v.cols, 99));
  g.backward(out, stroma::as_const_view(derivative));
  for (const auto& m : d) result.gradients.push_back(on_host(ctx, m));
  return result;
}
/// Both, compared: 1 or less passes.
template <class T, class Record>
double recorded_error(const std::vector<stroma::array<T, 2>>& inputs, const std::vector<index_t>& offsets,
                      index_t terms, double size, Record record) {
  const auto device = recorded_on_device<T>(inputs, offsets, record);
  const auto host = recorded_on_host<T>(inputs, offsets, record);
  double worst = error_of_sum(device.value, host.value, terms, size);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    worst = std::max(worst, error_of_sum(device.gradients[i], host.gradients[i], terms, size));
  return worst;
}

/// Memory of the device that f() asks for, and the kernels it starts; 0 where no emulator counts.
template <class F>
std::uint64_t device_allocations_in(F&& f) {
#if defined(__CUDACC__)
  f();
  return 0;
#else
  const auto before = cuda_emulator::count().allocations;
  f();
  return cuda_emulator::count().allocations - before;
#endif
}
template <class F>
std::uint64_t kernels_in(F&& f) {
#if defined(__CUDACC__)
  f();
  return 0;
#else
  const auto before = cuda_emulator::count().kernels;
  f();
  return cuda_emulator::count().kernels - before;
#endif
}
/// No memory is asked for when f() is called again, nobody waits, and at most `kernels` start.
template <class F>
void check_second_call(F&& f, std::uint64_t kernels) {
  check_cost(f, kernels, 0);
}

/// Offsets for 600 rows that no bags have; each is a shape_error, and no memory is touched out of bounds.
inline const std::vector<std::vector<index_t>> bad_offsets{{0, 300, 100, 600},
                                                           {5, 300, 600},
                                                           {0, 300, 599},
                                                           {0, 300, 70000},
                                                           {0, -50, 600},
                                                           {-9, 300, 600},
                                                           {0, 1L << 40, 600},
                                                           {0, 600, 0, 600, 0, 600, 0, 600, 0, 600},
                                                           {0}};

}  // namespace stroma_test
