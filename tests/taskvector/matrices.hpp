#pragma once
#include <cmath>
#include <tuple>
#include <vector>

#include <Eigen/Core>
#include <Eigen/LU>

#include <stroma/core/array.hpp>
#include <stroma/core/members.hpp>

/// A matrix, a matrix of one row and a vector: what the rules on singular values tell apart.
template <class T>
struct layer_model {
  stroma::array<T, 2> weight, row{1, 5};
  stroma::array<T, 1> bias{4};
  explicit layer_model(stroma::index_t rows = 8, stroma::index_t cols = 5) : weight(rows, cols) {}
  static auto members(auto& s) {
    using stroma::member;
    return std::tuple{member{"weight", s.weight}, member{"row", s.row}, member{"bias", s.bias}};
  }
};

template <class T>
Eigen::MatrixXd as_eigen(const stroma::array<T, 2>& a) {
  Eigen::MatrixXd m(a.rows(), a.cols());
  for (stroma::index_t r = 0; r < a.rows(); ++r)
    for (stroma::index_t c = 0; c < a.cols(); ++c) m(r, c) = static_cast<double>(a(r, c));
  return m;
}
template <class T>
void set(stroma::array<T, 2>& a, const Eigen::MatrixXd& m) {
  for (stroma::index_t r = 0; r < a.rows(); ++r)
    for (stroma::index_t c = 0; c < a.cols(); ++c) a(r, c) = static_cast<T>(m(r, c));
}

/// The matrix a^p for a symmetric positive definite one, by its own iteration (Denman and Beavers): p = -1/2.
inline Eigen::MatrixXd inverse_root(const Eigen::MatrixXd& a) {
  Eigen::MatrixXd y = a, z = Eigen::MatrixXd::Identity(a.rows(), a.cols());
  for (int i = 0; i < 60; ++i) {
    const Eigen::MatrixXd next = (y + z.partialPivLu().inverse()) / 2;
    z = (z + y.partialPivLu().inverse()) / 2;
    y = next;
  }
  return z;
}
/// The polar factor of a matrix of full rank, without its singular values: M (M^T M)^(-1/2) or (M M^T)^(-1/2) M.
inline Eigen::MatrixXd polar(const Eigen::MatrixXd& m) {
  if (m.rows() >= m.cols()) return m * inverse_root(m.transpose() * m);
  return inverse_root(m * m.transpose()) * m;
}
/// The sum of the singular values: the trace of (M^T M)^(1/2).
inline double nuclear_norm(const Eigen::MatrixXd& m) { return (polar(m).transpose() * m).trace(); }
