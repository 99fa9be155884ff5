#include <cstdint>
#include <type_traits>
#include <vector>

#include <Eigen/Core>
#include <Eigen/SparseCore>
#include <doctest/doctest.h>

#include <stroma/adapt/eigen.hpp>
#include <stroma/adapt/std.hpp>

using namespace stroma;

namespace {

using row_major = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Every element of the view is the element of the container, the very same one where it can be written to.
template <class M>
void check_matrix(M&& m) {
  const auto v = as_view(m);
  CHECK(v.rows == m.rows());
  CHECK(v.cols == m.cols());
  const auto fixed = as_const_view(m);
  CHECK(fixed.data == v.data);
  for (Eigen::Index r = 0; r < m.rows(); ++r)
    for (Eigen::Index c = 0; c < m.cols(); ++c) CHECK(&v(r, c) == &m.coeffRef(r, c));
}

template <class V>
void check_vector(V&& x) {
  const auto v = as_view(x);
  CHECK(v.size == x.size());
  CHECK(as_const_view(x).data == v.data);
  for (Eigen::Index i = 0; i < x.size(); ++i) CHECK(&v[i] == &x.coeffRef(i));
}

template <class M>
using view_of = decltype(as_view(std::declval<M>()));

/// A user's own type on top of Eigen's.
struct patch_matrix : Eigen::MatrixXf {
  using Eigen::MatrixXf::MatrixXf;
};

}  // namespace

TEST_CASE("adapt/eigen: matrices, row- and column-major") {
  Eigen::MatrixXf c = Eigen::MatrixXf::Random(3, 4);
  row_major r = c;
  check_matrix(c);
  check_matrix(r);
  CHECK(as_view(c).row_stride == 1);
  CHECK(as_view(c).col_stride == 3);
  CHECK_FALSE(as_view(c).contiguous());
  CHECK(as_view(r).row_stride == 4);
  CHECK(as_view(r).contiguous());
  as_view(c)(2, 1) = 7;
  CHECK(c(2, 1) == 7);
  Eigen::Matrix3d fixed = Eigen::Matrix3d::Random();
  check_matrix(fixed);
  Eigen::ArrayXXf array = c.array();
  check_matrix(array);
  check_matrix(c.array());
  check_matrix(array.matrix());
  Eigen::MatrixXd none(0, 5);
  check_matrix(none);
  patch_matrix own(2, 2);
  check_matrix(own);
}

TEST_CASE("adapt/eigen: vectors have rank 1 by their type, a 1 x N matrix has rank 2") {
  static_assert(vector_like<Eigen::VectorXf> && vector_like<Eigen::RowVectorXd> && vector_like<Eigen::ArrayXf>);
  static_assert(vector_like<Eigen::Vector3f> && vector_like<Eigen::Matrix<float, 1, 7>>);
  static_assert(matrix_like<Eigen::MatrixXf> && matrix_like<row_major> && matrix_like<Eigen::Array22d>);
  static_assert(vector_like<Eigen::Matrix<std::uint8_t, Eigen::Dynamic, 1>>);
  Eigen::VectorXf v = Eigen::VectorXf::Random(5);
  Eigen::RowVectorXf w = v.transpose();
  check_vector(v);
  check_vector(w);
  CHECK(as_view(v).stride == 1);
  Eigen::MatrixXf thin(1, 4), tall(4, 1);
  check_matrix(thin);
  check_matrix(tall);
  row_major flat(1, 4);
  check_matrix(flat);
}

TEST_CASE("adapt/eigen: const gives views of const") {
  using matrix = Eigen::MatrixXf;
  static_assert(std::is_same_v<view_of<matrix&>, matrix_view<float>>);
  static_assert(std::is_same_v<view_of<const matrix&>, matrix_view<const float>>);
  static_assert(std::is_same_v<view_of<const Eigen::VectorXd&>, vector_view<const double>>);
  static_assert(std::is_same_v<view_of<Eigen::Map<const matrix>&>, matrix_view<const float>>);
  static_assert(std::is_same_v<view_of<Eigen::Map<matrix>&>, matrix_view<float>>);
  static_assert(std::is_same_v<view_of<const Eigen::Map<matrix>&>, matrix_view<const float>>);
  static_assert(std::is_same_v<view_of<Eigen::Ref<const matrix>&>, matrix_view<const float>>);
  static_assert(std::is_same_v<view_of<decltype(std::declval<matrix&>().row(0))>, vector_view<float>>);
  static_assert(std::is_same_v<view_of<decltype(std::declval<const matrix&>().row(0))>, vector_view<const float>>);
  static_assert(std::is_same_v<view_of<decltype(std::declval<const matrix&>().transpose())>, matrix_view<const float>>);
  static_assert(std::is_same_v<scalar_of<Eigen::Map<const matrix>>, float>);
  static_assert(std::is_same_v<backend_of<matrix>, backend::cpu>);
}

TEST_CASE("adapt/eigen: blocks, rows, columns, transposes and diagonals") {
  Eigen::MatrixXf c = Eigen::MatrixXf::Random(6, 5);
  row_major r = c;
  check_matrix(c.block(1, 2, 3, 2));
  check_matrix(r.block(1, 2, 3, 2));
  check_matrix(c.topRows(2));
  check_matrix(r.rightCols<2>());
  check_matrix(c.block(1, 1, 4, 4).block(1, 1, 2, 2));
  check_vector(c.row(2));
  check_vector(c.col(2));
  check_vector(r.row(2));
  check_vector(r.col(2));
  CHECK(as_view(c.row(2)).stride == 6);
  CHECK(as_view(r.row(2)).stride == 1);
  check_vector(c.row(2).segment(1, 3));
  check_vector(c.diagonal());
  check_vector(r.diagonal(1));
  const auto t = as_view(c.transpose());
  CHECK(t.rows == 5);
  CHECK(t.cols == 6);
  CHECK(&t(4, 3) == &c(3, 4));
  CHECK(t.contiguous());
  as_view(c.block(1, 2, 3, 2))(2, 1) = 9;
  CHECK(c(3, 3) == 9);
  Eigen::VectorXd v = Eigen::VectorXd::Random(7);
  check_vector(v.head(3));
  check_vector(v.tail<2>());
}

TEST_CASE("adapt/eigen: maps and references with inner and outer strides") {
  std::vector<float> memory(60);
  Eigen::Map<row_major, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>> strided(memory.data(), 3, 4, {16, 3});
  check_matrix(strided);
  CHECK(as_view(strided).row_stride == 16);
  CHECK(as_view(strided).col_stride == 3);
  as_view(strided)(2, 3) = 5;
  CHECK(memory[2 * 16 + 3 * 3] == 5);
  Eigen::Map<Eigen::MatrixXf, 0, Eigen::OuterStride<>> padded(memory.data(), 3, 4, Eigen::OuterStride<>(10));
  check_matrix(padded);
  CHECK(as_view(padded).col_stride == 10);
  Eigen::Map<Eigen::VectorXf, 0, Eigen::InnerStride<2>> every_other(memory.data(), 5);
  check_vector(every_other);
  CHECK(as_view(every_other).stride == 2);

  Eigen::MatrixXf c = Eigen::MatrixXf::Random(6, 5);
  Eigen::Ref<Eigen::MatrixXf> part = c.topRows(3);
  check_matrix(part);
  CHECK(as_view(part).data == c.data());
  CHECK(as_view(part).col_stride == 6);
  const Eigen::Ref<const Eigen::MatrixXf> seen = c;
  CHECK(as_const_view(seen).data == c.data());
}

TEST_CASE("adapt/eigen: what is not dense is no tensor") {
  static_assert(!tensor<Eigen::SparseMatrix<float>> && !tensor<std::vector<Eigen::MatrixXf>>);
  static_assert(!eigen_storage<std::vector<float>> && !eigen_storage<int>);
  static_assert(!eigen_storage<decltype(Eigen::MatrixXf() + Eigen::MatrixXf())>);
  static_assert(!eigen_storage<decltype(Eigen::MatrixXf() * Eigen::MatrixXf())>);
  static_assert(!eigen_storage<decltype(Eigen::VectorXf().reverse())> && !eigen_storage<Eigen::MatrixXcf>);
  static_assert(eigen_storage<decltype((Eigen::MatrixXf() + Eigen::MatrixXf()).eval())>);
}
