#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/merge.hpp>
#include <stroma/taskvector/weighted_sum.hpp>

namespace stroma {

/// Among which elements a rule counts, measures or compares.
enum class merge_scope {
  model,   ///< all of the model's
  tensor,  ///< those of one tensor
  row      ///< those of one row; a vector is one row
};

namespace detail {

/// f(slices, out) of each row with the scope row, else of the tensor at once.
template <class T, class F>
void for_each_row_slices(merge_scope scope, const tensor_slices<T>& s, T* out, F&& f) {
  if (scope != merge_scope::row) return f(s, out);
  std::vector<const T*> models(s.models.begin(), s.models.end());
  tensor_slices<T> row = s;
  row.rows = 1;
  row.models = models;
  for (index_t r = 0; r < s.rows; ++r) {
    f(static_cast<const tensor_slices<T>&>(row), out + r * s.cols);
    for (const T*& model : models) model += s.cols;
    if (row.base != nullptr) row.base += s.cols;
  }
}

/// out = base + sum of w_t (theta_t - base), without base the sum of w_t theta_t.
template <class T>
void sum_vectors(cpu_context& ctx, const tensor_slices<T>& s, std::span<const double> weights, T* out) {
  using kernel = weighted_sum_kernel<backend::cpu>;
  if (s.base != nullptr) kernel::run_differences<T>(ctx, s.size(), s.base, s.models, weights, out);
  else kernel::run<T>(ctx, s.size(), nullptr, s.models, weights, out);
}

}  // namespace detail
}  // namespace stroma
