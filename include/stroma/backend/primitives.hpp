#pragma once
#include <concepts>

#include <stroma/core/context.hpp>
#include <stroma/core/tensor.hpp>

namespace stroma {

/// What a backend supplies to the algorithms above it. `backend/cpu/primitives.hpp` fills it for the host;
/// leaving the backend's header out gives the message below.
template <class Backend>
struct primitives {
  static_assert(std::same_as<Backend, void>,
                "stroma: no primitives for this backend here; device data: include the .cuh beside the header and "
                "compile with nvcc");
};

/// The context in which a backend computes.
template <class Backend>
struct context_for;
template <>
struct context_for<backend::cpu> {
  using type = cpu_context;
};
template <class Backend>
using context_of = typename context_for<Backend>::type;

/// What is done to a product before it is stored: out = activation(sum + bias).
enum class activation { identity, relu, tanh, sigmoid, gelu, elu };

/// The whole list a new backend must fill. A primitive enters when two algorithms need it.
/// All matrices are views; results are the same from run to run. `P` is the set, `T` the scalar.
template <class P, class T>
concept primitive_set =
    requires(typename P::context& ctx, matrix_view<const T, typename P::space> a, matrix_view<T, typename P::space> c,
             vector_view<const T, typename P::space> v, vector_view<T, typename P::space> w,
             vector_view<const index_t, typename P::space> offsets, matrix_view<index_t, typename P::space> indices,
             activation f) {
      /// the offsets of one bag: 0 and its rows
      P::write_ends(ctx, index_t{}, static_cast<index_t*>(nullptr));
      /// every element becomes a value
      P::fill(ctx, c, T(0));
      /// c = a, widening 16-bit storage
      P::copy(ctx, a, c);
      /// c += alpha a
      P::axpy(ctx, T(1), a, c);
      /// the same with an alpha that lies where the matrices do
      P::axpy(ctx, a.data, a, c);
      /// c = f(a b + bias) or c += a b
      P::gemm(ctx, a, a, c, v, f);
      P::gemm_add(ctx, a, a, c);
      /// c = f(a); and d_in += d_out f'(a), from the value f(a) where that suffices
      P::activate(ctx, f, a, c);
      P::activate_backward(ctx, f, a, a, a, c);
      /// c = a f'(..) in place of adding
      P::scale_by_derivative(ctx, f, a, a, a, c);
      /// w[j] += sum over rows of a(i, j), in a fixed order
      P::add_column_sums(ctx, a, w);
      /// softmax over each column within each segment of rows
      P::segmented_softmax(ctx, a, offsets, c);
      /// c[b] = sum over rows i of segment b of weight(i, head) a(i, :), heads side by side
      P::segmented_weighted_sum(ctx, a, a, offsets, c);
      /// the largest of each row of a, or with offsets of each segment of its one column, and where they stand
      P::top_k(ctx, a, offsets, c, indices);
    };

}  // namespace stroma
