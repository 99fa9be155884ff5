#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <Eigen/Cholesky>

#include <stroma/adapt/eigen.hpp>
#include <stroma/core/array.hpp>
#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/taskvector/detail/svd.hpp>
#include <stroma/taskvector/merge.hpp>
#include <stroma/taskvector/weighted_average.hpp>

namespace stroma {

struct regmean_options {
  double off_diagonal = 0.9;      ///< factor of the Gram matrices' elements off their diagonal, 0 to 1
  double ridge = 1e-8;            ///< added to the diagonal of their sum, times its mean; 0: refuse what is singular
  std::vector<double> weights{};  ///< of the tensors without Gram matrices, as in `weighted_average`; empty: all alike
};

/// Adds the inputs of a linear layer to its Gram matrix: gram += X^T X, in double.
/// @param inputs [N, in]   @param gram [in, in], symmetric
/// Cost: N in^2. @throws shape_error
template <execution_context Context, matrix_like Inputs>
  requires same_space<Context, Inputs>
void add_gram(Context&, const Inputs& inputs, array<double, 2>& gram) {
  const auto x = as_const_view(inputs);
  check::shape("add_gram", "gram", as_const_view(gram), x.cols, x.cols);
  constexpr index_t tile = 256;
  detail::dense_matrix rows;
  Eigen::Map<detail::dense_matrix> sum(gram.data(), x.cols, x.cols);
  for (index_t at = 0; at < x.rows; at += tile) {
    rows.resize(std::min(tile, x.rows - at), x.cols);
    for (index_t r = 0; r < rows.rows(); ++r)
      for (index_t c = 0; c < x.cols; ++c) rows(r, c) = widen<double>(x(at + r, c));
    sum.noalias() += rows.transpose() * rows;
  }
}

/// Regression mean: each linear layer's weight [out, in] becomes the one whose outputs are nearest, in least squares,
/// to those of each model's own weight on that model's inputs X_t:
///   W = (sum of W_t G_t) (sum of G_t)^-1,   G_t = X_t^T X_t, elements off the diagonal times `off_diagonal`.
/// Computed as the mean of the W_t plus a correction, so inputs that never occur keep the mean's column. The layers are
/// those for which `gram` was called, once for each model; the other tensors are averaged. A base is not looked at.
/// Cost: in^3 / 3 for a layer (Cholesky) and T out in^2, on one thread; in^2 doubles a layer and model.
/// @throws value_error  options, a Gram matrix missing or not finite; a singular sum when the ridge is 0
/// @throws shape_error  a Gram matrix that is not [in, in]
/// Reference: Jin et al., "Dataless knowledge fusion by merging weights of language models", ICLR 2023.
class regmean : public tensorwise_rule {
 public:
  explicit regmean(regmean_options options = {}) : options_(std::move(options)) {}

  /// The Gram matrix of a layer's inputs in one model. Matrices of one layer have one scale: sums, or means.
  /// @param weight  the dotted name of the layer's weight   @param model  its place in the list, from 0
  void gram(std::string_view weight, index_t model, array<double, 2> gram) {
    check::require(model >= 0 && model < 1000000, name(), "model", std::to_string(model), "a place in the list");
    auto& of_layer = grams_.try_emplace(std::string(weight)).first->second;
    of_layer.resize(std::max(of_layer.size(), static_cast<std::size_t>(model) + 1));
    of_layer[static_cast<std::size_t>(model)] = std::move(gram);
  }

  [[nodiscard]] static std::string_view name() { return "regmean"; }
  void begin(index_t models) {
    check::in_range(name(), "options.off_diagonal", options_.off_diagonal, 0.0, 1.0);
    check::require(std::isfinite(options_.ridge) && options_.ridge >= 0, name(), "options.ridge",
                   number_text(options_.ridge), "a finite number of 0 or more");
    average_ = weighted_average({.weights = options_.weights});
    average_.begin(models);
    for (const auto& [layer, of_models] : grams_)
      for (std::size_t t = 0; t < static_cast<std::size_t>(models); ++t)
        check::require(of_models.size() == static_cast<std::size_t>(models) && of_models[t].size() > 0, name(), layer,
                       "no Gram matrix of model " + std::to_string(t), "one for each of " + std::to_string(models));
  }
  template <class T>
  index_t merge(cpu_context& ctx, const tensor_slices<T>& s, T* out) const {
    const index_t kept = average_.merge(ctx, s, out);
    const auto found = grams_.find(s.name);
    if (found != grams_.end()) correct(s, found->second, out);
    return kept;
  }

 private:
  /// out, which is the mean, plus sum of (W_t - mean) G_t times the inverse of the sum of the G_t.
  template <class T>
  void correct(const tensor_slices<T>& s, const std::vector<array<double, 2>>& grams, T* out) const {
    tensor_slices<T> from_mean = s;
    from_mean.base = out;
    detail::dense_matrix sum = detail::dense_matrix::Zero(s.cols, s.cols),
                         right = detail::dense_matrix::Zero(s.rows, s.cols);
    for (std::size_t t = 0; t < grams.size(); ++t) {
      check::shape(name(), s.name, as_const_view(grams[t]), s.cols, s.cols);
      detail::dense_matrix g = Eigen::Map<const detail::dense_matrix>(grams[t].data(), s.cols, s.cols);
      check::require(g.allFinite(), name(), s.name, "a Gram matrix that is not finite", "finite elements");
      const Eigen::VectorXd diagonal = g.diagonal();
      g *= options_.off_diagonal;
      g.diagonal() = diagonal;
      sum += g;
      right += detail::task_matrix(from_mean, t) * g;
    }
    if (s.size() == 0) return;
    sum.diagonal().array() += options_.ridge * sum.diagonal().mean();
    const Eigen::LDLT<detail::dense_matrix> factors(sum);
    const auto pivots = factors.vectorD();
    const double least = static_cast<double>(s.cols) * std::numeric_limits<double>::epsilon() * pivots.maxCoeff();
    if (pivots.maxCoeff() == 0 && options_.ridge > 0) return;  // no inputs at all: the mean
    check::require(pivots.minCoeff() > least, name(), s.name, "a singular sum of Gram matrices",
                   "a ridge above 0, or more inputs");
    const detail::dense_matrix change = factors.solve(right.transpose()).transpose();
    detail::store_moved<T>(from_mean, 1, change, out);
  }

  regmean_options options_;
  weighted_average average_;
  std::map<std::string, std::vector<array<double, 2>>, std::less<>> grams_;
};

}  // namespace stroma
