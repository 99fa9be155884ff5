#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/members.hpp>
#include <stroma/taskvector/detail/for_each_tensor.hpp>
#include <stroma/taskvector/detail/svd.hpp>
#include <stroma/taskvector/merge.hpp>

namespace stroma {

struct subspace_options {
  /// A matrix's subspace is that of its first left singular vectors, as few as hold more than this part of its
  /// Frobenius norm: the root of the sum of their squared singular values over that of all. 1: all that are not 0.
  double part = 0.95;
};

/// How much of one task matrix lies in the subspace of another.
struct subspace_alignment {
  std::string name;
  index_t rank = 0;  ///< dimensions of the subspace
  double ratio = 0;  ///< |U U^T a|_F / |a|_F, 0 to 1; 0 of a matrix that is 0
};

namespace detail {

/// An orthonormal basis, in columns, of a matrix's subspace.
[[nodiscard]] inline dense_matrix leading_directions(const dense_matrix& m, double part) {
  if (m.size() == 0) return dense_matrix(m.rows(), 0);
  const thin_svd svd = svd_of(m);
  const auto& values = svd.singularValues();
  const double all = values.norm(), rounding = values[0] * static_cast<double>(m.cols()) * 0x1p-52;
  index_t rank = 0;
  double squares = 0;
  while (rank < values.size() && values[rank] > rounding && std::sqrt(squares) <= part * all) {
    squares += values[rank] * values[rank];
    ++rank;
  }
  return svd.matrixU().leftCols(rank);
}

/// f(name, matrix of `a`, basis of the subspace of the same matrix of `b`, the tensors of `rest`) for each matrix.
template <class Model, class F, class... Rest>
void for_each_subspace(std::string_view function, const Model& a, const Model& b, const subspace_options& options,
                       F&& f, Rest&... rest) {
  check::in_range(function, "options.part", options.part, 0.0, 1.0);
  check_same_extents(function, "b", b, a);
  for_each_parameter(
      [&]<class Array>(std::string_view name, const Array& x, const Array& y, auto&... others) {
        using T = typename Array::value_type;
        if constexpr (Array::rank == 2) {
          const auto matrix = [&](const Array& p) {
            const T* const data = p.data();
            return task_matrix(slices_of<T>(name, p, std::span<const T* const>(&data, 1)), 0);
          };
          f(name, matrix(x), leading_directions(matrix(y), options.part), others...);
        }
      },
      a, b, rest...);
}

}  // namespace detail

/// Subspace alignment ratio of two task vectors, for each matrix: the part of `a`'s Frobenius norm that lies in the
/// span of the leading left singular vectors of `b`. Cost: a singular value decomposition a matrix, in double.
/// @throws shape_error, value_error
/// Reference: Marczak et al., "No task left behind", ICML 2025; used on mixtures by STEPH, CVPR 2026.
template <execution_context Context, class Model>
[[nodiscard]] std::vector<subspace_alignment> subspace_alignments(Context&, const Model& a,
                                                                  const std::type_identity_t<Model>& b,
                                                                  const subspace_options& options = {}) {
  static_assert(std::same_as<typename Context::backend, backend::cpu>,
                "subspace_alignments: copy the models to the host first");
  std::vector<subspace_alignment> all;
  detail::for_each_subspace(
      "subspace_alignments", a, b, options,
      [&](std::string_view name, const detail::dense_matrix& x, const detail::dense_matrix& u) {
        const double size = x.norm();
        all.push_back({std::string(name), u.cols(), size > 0 ? std::min((u.transpose() * x).norm() / size, 1.0) : 0});
      });
  return all;
}

/// The part of a task vector that lies in the subspace of another: out = U U^T source for each matrix, U the leading
/// left singular vectors of `target`. Vectors are copied. With the part 1, a target of full row rank changes nothing.
/// @param out  the same extents, overwritten; may be the source
template <execution_context Context, class Model>
void project_on_subspace(Context&, const std::type_identity_t<Model>& source, const std::type_identity_t<Model>& target,
                         Model& out, const subspace_options& options = {}) {
  static_assert(std::same_as<typename Context::backend, backend::cpu>,
                "project_on_subspace: copy the models to the host first");
  detail::check_same_extents("project_on_subspace", "out", out, source);
  if (&out != &source) out = source;
  detail::for_each_subspace(
      "project_on_subspace", static_cast<const Model&>(out), target, options,
      [&](std::string_view name, const detail::dense_matrix& x, const detail::dense_matrix& u, auto& o) {
        using T = typename std::remove_reference_t<decltype(o)>::value_type;
        detail::store_moved<T>(detail::slices_of<T>(name, o, std::span<const T* const>()), 1, u * (u.transpose() * x),
                               o.data());
      },
      out);
}

}  // namespace stroma
