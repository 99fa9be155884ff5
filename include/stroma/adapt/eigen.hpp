#pragma once
#include <type_traits>

#include <Eigen/Core>

#include <stroma/core/tensor.hpp>

namespace stroma {

namespace detail {
template <class Derived>
void accepts_eigen(const Eigen::DenseBase<Derived>&);
template <class M>
concept eigen_dense = requires(const M& m) { accepts_eigen(m); };
}  // namespace detail

/// What of Eigen lies in memory: Matrix, Array, Map, Ref, and blocks, rows, columns, transposes and diagonals of them.
template <class M>
concept eigen_storage = detail::eigen_dense<M> && tensor_element<typename M::Scalar> &&
                        (static_cast<unsigned>(M::Flags) & Eigen::DirectAccessBit) != 0;

/// What has one row or one column by its type is a vector, all else a matrix: a 1 x N MatrixXf is a matrix, its row(0)
/// a vector.
template <eigen_storage M>
struct tensor_traits<M> {
  using scalar = typename M::Scalar;
  using backend = stroma::backend::cpu;
  static constexpr int rank = M::IsVectorAtCompileTime ? 1 : 2;
  template <class X>
  static auto view(X& m) {
    using element = std::remove_pointer_t<decltype(m.data())>;
    if constexpr (rank == 1) {
      return vector_view<element>(m.data(), m.size(), m.innerStride());
    } else {
      const index_t inner = m.innerStride(), outer = m.outerStride();
      return matrix_view<element>(m.data(), m.rows(), m.cols(), M::IsRowMajor ? outer : inner,
                                  M::IsRowMajor ? inner : outer);
    }
  }
};

/// All else of Eigen is no tensor, and says why.
template <detail::eigen_dense M>
  requires(!eigen_storage<M>)
struct tensor_traits<M> {
  static_assert(tensor_element<typename M::Scalar>,
                "stroma: the elements of a tensor are float, double, stroma::half, stroma::bfloat16 or integers");
  static_assert(!tensor_element<typename M::Scalar>,
                "stroma: an Eigen expression has no memory that a view could point to: call .eval()");
};

}  // namespace stroma
