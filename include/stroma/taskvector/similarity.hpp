#pragma once
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <stroma/core/context.hpp>
#include <stroma/core/members.hpp>
#include <stroma/core/workspace.hpp>
#include <stroma/optim/parameter_update.hpp>
#include <stroma/taskvector/detail/for_each_tensor.hpp>

namespace stroma {

/// Inner products of two vectors of numbers, and what follows from them.
struct inner_products {
  double ab = 0, aa = 0, bb = 0;

  [[nodiscard]] double norm_a() const { return std::sqrt(aa); }
  [[nodiscard]] double norm_b() const { return std::sqrt(bb); }
  /// 0 where either vector is 0.
  [[nodiscard]] double cosine() const { return aa > 0 && bb > 0 ? ab / (norm_a() * norm_b()) : 0; }
};

/// How two task vectors lie to each other in one tensor.
struct tensor_similarity {
  std::string name;
  inner_products products;
};

namespace detail {

/// Inner products of pairs of tensors, in double and in an order that depends on the count alone. `add` asks for those
/// of a pair; `finish` has all, in the order in which they were asked for.
template <class Backend>
class dot_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/taskvector/similarity.cuh> and compile with nvcc");

 public:
  /// @param most  pairs
  dot_kernel(cpu_context& ctx, index_t most)
      : ctx_(ctx), frame_(ctx.workspace().open()), products_(frame_.template take<inner_products>(most)) {}

  template <class T>
  void add(index_t count, const T* a, const T* b) {
    const index_t pieces = (count + update_piece - 1) / update_piece;
    auto scratch = ctx_.workspace().open();
    inner_products* const part = scratch.template take<inner_products>(pieces);
    for_each_piece(ctx_, count,
                   [&](index_t first, index_t n) { part[first / update_piece] = of_piece(n, a + first, b + first); });
    inner_products sum;
    for (index_t i = 0; i < pieces; ++i) {
      sum.ab += part[i].ab;
      sum.aa += part[i].aa;
      sum.bb += part[i].bb;
    }
    products_[pairs_++] = sum;
  }
  [[nodiscard]] std::span<const inner_products> finish() const { return {products_, pairs_}; }

 private:
  /// Eight sums at a time, so that an addition need not wait for the one before.
  template <class T>
  static inner_products of_piece(index_t count, const T* a, const T* b) {
    constexpr index_t lanes = 8;
    double ab[lanes] = {}, aa[lanes] = {}, bb[lanes] = {};
    const auto add = [&](index_t lane, double x, double y) {
      ab[lane] += x * y;
      aa[lane] += x * x;
      bb[lane] += y * y;
    };
    index_t i = 0;
    for (; i + lanes <= count; i += lanes)
      for (index_t k = 0; k < lanes; ++k) add(k, static_cast<double>(a[i + k]), static_cast<double>(b[i + k]));
    for (; i < count; ++i) add(0, static_cast<double>(a[i]), static_cast<double>(b[i]));
    inner_products sum;
    for (index_t k = 0; k < lanes; ++k) {
      sum.ab += ab[k];
      sum.aa += aa[k];
      sum.bb += bb[k];
    }
    return sum;
  }

  cpu_context& ctx_;
  workspace::frame frame_;
  inner_products* products_;
  std::size_t pairs_ = 0;
};

/// f(name, inner products) for each tensor of two objects.
template <class Context, class Model, class F>
void for_each_product(Context& ctx, std::string_view function, const Model& a, const Model& b, F&& f) {
  check_same_extents(function, "b", b, a);
  dot_kernel<typename Context::backend> products(ctx, tensor_count(a));
  for_each_parameter(
      [&](std::string_view, const auto& x, const auto& y) { products.add(x.size(), x.data(), y.data()); }, a, b);
  auto found = products.finish().begin();
  for_each_parameter([&](std::string_view name, const auto&) { f(name, *found++); }, a);
}

}  // namespace detail

/// Inner products of two objects of one struct, all tensors together, in double: the dot product, both squared norms,
/// and the cosine. (The norm of one alone is `global_norm`.) Squares beyond the range of double give infinity.
/// Cost: one pass, on a device two launches for 32 tensors and one wait; no memory after the first call. The same bits
/// for any number of threads. @throws shape_error
template <execution_context Context, class Model>
[[nodiscard]] inner_products similarity(Context& ctx, const Model& a, const std::type_identity_t<Model>& b) {
  inner_products sum;
  detail::for_each_product(ctx, "similarity", a, b, [&](std::string_view, const inner_products& p) {
    sum.ab += p.ab;
    sum.aa += p.aa;
    sum.bb += p.bb;
  });
  return sum;
}

/// The same for each tensor, in the order of `members`. Cost: one pass, and memory for the result.
template <execution_context Context, class Model>
[[nodiscard]] std::vector<tensor_similarity> similarity_by_tensor(Context& ctx, const Model& a,
                                                                  const std::type_identity_t<Model>& b) {
  std::vector<tensor_similarity> all;
  detail::for_each_product(ctx, "similarity_by_tensor", a, b, [&](std::string_view name, const inner_products& p) {
    all.push_back({std::string(name), p});
  });
  return all;
}

}  // namespace stroma
