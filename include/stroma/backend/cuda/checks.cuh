#pragma once
#include <cmath>
#include <string>

#include <stroma/backend/checks.hpp>
#include <stroma/backend/cuda/kernels.cuh>

namespace stroma {
namespace detail {

/// Notes in a slot the first i for which check.wrong(i), with check.value(i). A slot that holds a finding keeps it. The
/// block that ends last knows what all have found; no other may note a value that is not the first one's.
template <class Check>
__global__ void __launch_bounds__(block_threads) find_fault_kernel(index_t count, Check check, device_fault* slot) {
  if (slot->unrecorded == 0) return;  // the same for all: whoever changes it is the last to end
  const index_t step = static_cast<index_t>(gridDim.x) * blockDim.x;
  for (index_t i = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
    if (check.wrong(i)) atomicMin(&slot->at, static_cast<unsigned long long>(i));
  __syncthreads();
  if (threadIdx.x != 0) return;
  __threadfence();  // the block's findings before its end
  const unsigned ended = atomicAdd(&slot->ended, 1u) + 1u;
  if (ended + 1 != gridDim.x) return;
  __threadfence();
  slot->ended = no_block;
  const unsigned long long first = atomicMin(&slot->at, no_fault);
  if (first == no_fault) return;
  slot->value = check.value(static_cast<index_t>(first));
  slot->unrecorded = 0;
}
template <class Check>
void check_each(cuda_context& ctx, index_t count, const Check& check, const fault_log::entry& e) {
  if (count <= 0) return;
  launch(&find_fault_kernel<Check>, dim3(blocks_for(ctx, count)), dim3(block_threads), 0, ctx.stream(), count, check,
         ctx.faults().slot(ctx.memory(), e));
}

template <class T>
__device__ bool is_finite(T x) {
  return x - x == T(0);
}

/// Elements of a matrix in the order of its rows that a predicate forbids.
template <class T, class Forbidden>
struct element_check {
  matrix_view<const T, device_space> m;
  Forbidden forbidden;
  __device__ double value(index_t i) const { return widen<double>(m(i / m.cols, i % m.cols)); }
  __device__ bool wrong(index_t i) const { return forbidden(value(i)); }
};
template <class Forbidden>
struct number_check {
  number_view<device_space> v;
  Forbidden forbidden;
  __device__ double value(index_t i) const { return v[i]; }
  __device__ bool wrong(index_t i) const { return forbidden(value(i)); }
};
template <class T>
struct entry_check {
  number_view<device_space> entry;
  vector_view<const T, device_space> time;
  __device__ double value(index_t i) const { return entry[i]; }
  __device__ bool wrong(index_t i) const { return !is_finite(entry[i]) || !(entry[i] < widen<double>(time[i])); }
};
struct not_finite {
  __device__ bool operator()(double x) const { return !is_finite(x); }
};
struct not_finite_or_negative {
  __device__ bool operator()(double x) const { return !is_finite(x) || x < 0; }
};
struct not_0_or_1 {
  __device__ bool operator()(double x) const { return x != 0 && x != 1; }
};
struct not_a_probability {
  __device__ bool operator()(double x) const { return !(x >= 0 && x <= 1); }
};
struct outside_labels {
  double count;
  __device__ bool operator()(double x) const { return !(x >= 0 && x < count); }
};
template <class T>
struct falling_check {
  vector_view<const T, device_space> v;
  __device__ bool wrong(index_t i) const { return i > 0 && v[i] < v[i - 1]; }
  __device__ double value(index_t i) const { return widen<double>(v[i]); }
};
struct offsets_check {
  device_offsets offsets;
  index_t rows;
  __device__ bool wrong(index_t i) const {
    return (i == 0 && offsets[0] != 0) || (i > 0 && offsets[i] < offsets[i - 1]) ||
           (i == offsets.size - 1 && offsets[i] != rows);
  }
  __device__ double value(index_t i) const { return static_cast<double>(offsets[i]); }
};
struct bag_check {
  device_offsets offsets;
  index_t rows;
  vector_view<const std::uint8_t, device_space> mask;
  __device__ bool wrong(index_t b) const {
    const segment_rows bag = rows_of_segment(offsets, b, rows);
    if (mask.size == 0) return bag.count == 0;
    for (index_t n = bag.first; n < bag.first + bag.count; ++n)
      if (mask[n] != 0) return false;
    return true;
  }
  __device__ double value(index_t b) const { return static_cast<double>(rows_of_segment(offsets, b, rows).count); }
};

template <class T>
matrix_view<const T, device_space> as_column(vector_view<const T, device_space> v) {
  return {v.data, v.size, 1, v.stride, 1};
}

}  // namespace detail

template <>
struct value_checks<backend::cuda> {
  using context = cuda_context;
  using entry = detail::fault_log::entry;

  template <class T>
  static void finite(context& ctx, std::string_view function, std::string_view argument,
                     vector_view<const T, device_space> v) {
    elements(
        ctx, detail::as_column(v), detail::not_finite{},
        {function, argument, [](const entry& e, index_t at, double x) { raise_at(e, at, x, "finite values"); }, 1});
  }
  template <class T>
  static void finite(context& ctx, std::string_view function, std::string_view argument,
                     matrix_view<const T, device_space> m) {
    elements(ctx, m, detail::not_finite{},
             {function, argument, [](const entry& e, index_t at, double x) { raise_in_row(e, at, x, "finite values"); },
              m.cols});
  }
  template <class T>
  static void probabilities(context& ctx, std::string_view function, std::string_view argument,
                            matrix_view<const T, device_space> m) {
    elements(
        ctx, m, detail::not_a_probability{},
        {function, argument, [](const entry& e, index_t at, double x) { raise_in_row(e, at, x, "0 to 1"); }, m.cols});
  }
  template <class T>
  static void probabilities(context& ctx, std::string_view function, std::string_view argument,
                            vector_view<const T, device_space> v) {
    elements(ctx, detail::as_column(v), detail::not_a_probability{},
             {function, argument, [](const entry& e, index_t at, double x) { raise_at(e, at, x, "0 to 1"); }, 1});
  }
  template <class T>
  static void event_flags(context& ctx, std::string_view function, std::string_view argument,
                          vector_view<const T, device_space> v) {
    elements(ctx, detail::as_column(v), detail::not_0_or_1{},
             {function, argument,
              [](const entry& e, index_t at, double x) { raise_at(e, at, x, "0 (censored) or 1 (observed)"); }, 1});
  }
  template <class T>
  static void follow_up(context& ctx, std::string_view function, std::string_view argument,
                        vector_view<const T, device_space> v) {
    elements(ctx, detail::as_column(v), detail::not_finite_or_negative{},
             {function, argument,
              [](const entry& e, index_t at, double x) { raise_at(e, at, x, "finite times of 0 or later"); }, 1});
  }
  template <class T>
  static void rising(context& ctx, std::string_view function, std::string_view argument,
                     vector_view<const T, device_space> v) {
    finite(ctx, function, argument, v);
    detail::check_each(ctx, v.size, detail::falling_check<T>{v},
                       {function, argument,
                        [](const entry& e, index_t at, double) {
                          throw value_error(error_message(e.function, e.argument, "a fall at " + std::to_string(at),
                                                          "numbers that never fall"));
                        },
                        1});
  }
  template <class T>
  static void weights(context& ctx, std::string_view function, std::string_view argument,
                      vector_view<const T, device_space> v) {
    elements(ctx, detail::as_column(v), detail::not_finite_or_negative{}, {function, argument, raise_weight, 1});
  }
  static void finite(context& ctx, std::string_view function, std::string_view argument,
                     const number_view<device_space>& v) {
    detail::check_each(
        ctx, v.size, detail::number_check<detail::not_finite>{v, {}},
        {function, argument, [](const entry& e, index_t at, double x) { raise_at(e, at, x, "finite values"); }, 1});
  }
  static void weights(context& ctx, std::string_view function, std::string_view argument,
                      const number_view<device_space>& v) {
    detail::check_each(ctx, v.size, detail::number_check<detail::not_finite_or_negative>{v, {}},
                       {function, argument, raise_weight, 1});
  }
  template <class T>
  static void entries(context& ctx, std::string_view function, std::string_view argument,
                      const number_view<device_space>& entries, vector_view<const T, device_space> time) {
    detail::check_each(
        ctx, entries.size, detail::entry_check<T>{entries, time},
        {function, argument,
         [](const entry& e, index_t at, double x) { raise_at(e, at, x, "finite numbers below their times"); }, 1});
  }
  template <class T>
  static void labels(context& ctx, std::string_view function, std::string_view argument,
                     vector_view<const T, device_space> v, index_t count) {
    elements(ctx, detail::as_column(v), detail::outside_labels{static_cast<double>(count)},
             {function, argument,
              [](const entry& e, index_t at, double x) { raise_at(e, at, x, "0 to " + std::to_string(e.extent - 1)); },
              count});
  }
  template <class T>
  static void classes(context& ctx, std::string_view function, std::string_view argument,
                      vector_view<const T, device_space> v) {
    elements(ctx, detail::as_column(v), detail::not_0_or_1{},
             {function, argument, [](const entry& e, index_t at, double x) { raise_at(e, at, x, "0 or 1"); }, 1});
  }
  static void offsets(context& ctx, std::string_view function, std::string_view argument,
                      detail::device_offsets offsets, index_t rows) {
    if (offsets.size < 1 || (offsets.size == 1 && rows > 0))  // rows without a bag
      throw shape_error(error_message(function, argument, offsets.size < 1 ? "no entry" : "one entry",
                                      "from 0 to " + std::to_string(rows) + " (the rows of instances)"));
    detail::check_each(ctx, offsets.size, detail::offsets_check{offsets, rows},
                       {function, argument,
                        [](const entry& e, index_t at, double x) {
                          throw shape_error(error_message(
                              e.function, e.argument, number_text(x) + " at entry " + std::to_string(at),
                              "from 0 to " + std::to_string(e.extent) + " (the rows of instances), never falling"));
                        },
                        rows});
  }
  static void bags(context& ctx, std::string_view function, detail::device_offsets offsets, index_t rows,
                   vector_view<const std::uint8_t, device_space> mask) {
    if (mask.size > 0) check::length(function, "mask", mask.size, rows, "the rows of instances");
    detail::check_each(
        ctx, offsets.size - 1, detail::bag_check{offsets, rows, mask},
        {function, "mask",
         [](const entry& e, index_t at, double x) {
           if (x == 0)
             throw shape_error(error_message(e.function, "bag " + std::to_string(at), "0 instances", "1 or more"));
           throw value_error(error_message(
               e.function, e.argument, "all " + number_text(x) + " instances of bag " + std::to_string(at) + " masked",
               "1 or more that take part"));
         },
         1});
  }

 private:
  static void raise_weight(const entry& e, index_t at, double x) { raise_at(e, at, x, "finite weights of 0 or more"); }
  [[noreturn]] static void raise_at(const entry& e, index_t at, double x, std::string_view expected) {
    throw value_error(error_message(e.function, e.argument, number_text(x) + " at " + std::to_string(at), expected));
  }
  [[noreturn]] static void raise_in_row(const entry& e, index_t at, double x, std::string_view expected) {
    throw value_error(error_message(
        e.function, e.argument,
        number_text(x) + " at row " + std::to_string(at / e.extent) + ", column " + std::to_string(at % e.extent),
        expected));
  }
  template <class T, class Forbidden>
  static void elements(context& ctx, matrix_view<const T, device_space> m, const Forbidden& forbidden, const entry& e) {
    detail::check_each(ctx, m.rows * m.cols, detail::element_check<T, Forbidden>{m, forbidden}, e);
  }
};

}  // namespace stroma
