#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/regmean.hpp>

#include "support/matrices.hpp"
#include "taskvector/matrices.hpp"
#include "taskvector/models.hpp"

using namespace stroma;

namespace {

std::vector<layer_model<double>> random_layers(std::size_t count) {
  std::vector<layer_model<double>> models(count);
  for (std::size_t t = 0; t < count; ++t) fill_normal(models[t], 40 + static_cast<std::uint32_t>(t));
  return models;
}
array<double, 2> gram_of(const array<double, 2>& inputs) {
  cpu_context ctx;
  array<double, 2> gram(inputs.cols(), inputs.cols());
  add_gram(ctx, inputs, gram);
  return gram;
}

}  // namespace

TEST_CASE_TEMPLATE("regmean: Gram matrices are added up in double", T, float, double) {
  cpu_context ctx;
  const auto x = stroma_test::normal_matrix<T>(300, 7, 1);
  array<double, 2> gram(7, 7);
  add_gram(ctx, x, gram);
  add_gram(ctx, stroma_test::laid_out<T>(as_const_view(x), stroma_test::layout::columns).view(), gram);
  for (index_t a = 0; a < 7; ++a)
    for (index_t b = 0; b < 7; ++b) {
      long double sum = 0, size = 0;
      for (index_t r = 0; r < 300; ++r) {
        const long double product = static_cast<long double>(x(r, a)) * static_cast<long double>(x(r, b));
        sum += 2 * product;
        size += 2 * std::fabs(product);
      }
      CHECK(std::fabs(gram(a, b) - sum) <= 600 * std::numeric_limits<double>::epsilon() * size);
    }
  array<double, 2> narrow_gram(6, 6);
  CHECK_THROWS_AS(add_gram(ctx, x, narrow_gram), shape_error);
}

TEST_CASE("regmean: least squares on the stacked data") {
  cpu_context ctx;
  const auto models = random_layers(3);
  regmean rule({.off_diagonal = 1, .ridge = 0});
  // sum over t of |X_t W^T - X_t W_t^T|^2 is least where its gradient, sum of (W - W_t) G_t, is 0.
  std::vector<Eigen::MatrixXd> grams;
  for (std::size_t t = 0; t < 3; ++t) {
    const auto x = stroma_test::normal_matrix<double>(20, 5, 60 + t, static_cast<double>(t + 1));
    rule.gram("weight", static_cast<index_t>(t), gram_of(x));
    grams.push_back(as_eigen(x).transpose() * as_eigen(x));
  }
  layer_model<double> out;
  merge(ctx, rule, models, out);
  Eigen::MatrixXd gradient = Eigen::MatrixXd::Zero(8, 5);
  double size = 0;
  for (std::size_t t = 0; t < 3; ++t) {
    gradient += (as_eigen(out.weight) - as_eigen(models[t].weight)) * grams[t];
    size += 4 * grams[t].norm();
  }
  CHECK(gradient.cwiseAbs().maxCoeff() <= 100 * std::numeric_limits<double>::epsilon() * size);
  // Tensors without Gram matrices are averaged.
  for (index_t i = 0; i < 4; ++i)
    CHECK(std::fabs(out.bias[i] - (models[0].bias[i] + models[1].bias[i] + models[2].bias[i]) / 3) <=
          8 * std::numeric_limits<double>::epsilon());
}

TEST_CASE("regmean: the diagonal alone weighs each input's column") {
  cpu_context ctx;
  const auto models = random_layers(2);
  regmean rule({.off_diagonal = 0, .ridge = 0});
  std::vector<array<double, 2>> grams{gram_of(stroma_test::normal_matrix<double>(9, 5, 1)),
                                      gram_of(stroma_test::normal_matrix<double>(9, 5, 2))};
  for (index_t t = 0; t < 2; ++t) rule.gram("weight", t, grams[static_cast<std::size_t>(t)]);
  layer_model<double> out;
  merge(ctx, rule, models, out);
  for (index_t r = 0; r < 8; ++r)
    for (index_t c = 0; c < 5; ++c) {
      const double a = grams[0](c, c), b = grams[1](c, c);
      CHECK(std::fabs(out.weight(r, c) - (a * models[0].weight(r, c) + b * models[1].weight(r, c)) / (a + b)) <=
            64 * std::numeric_limits<double>::epsilon());
    }
}

TEST_CASE("regmean: inputs that never occur keep the mean; fewer inputs than columns; no ridge is refused") {
  cpu_context ctx;
  const auto models = random_layers(2);
  layer_model<double> out;
  auto x = stroma_test::normal_matrix<double>(3, 5, 1), y = stroma_test::normal_matrix<double>(30, 5, 2);
  for (index_t r = 0; r < 30; ++r) y(r, 2) = 0;
  for (index_t r = 0; r < 3; ++r) x(r, 2) = 0;
  const auto rule_with = [&](double ridge) {
    regmean rule({.off_diagonal = 1, .ridge = ridge});
    rule.gram("weight", 0, gram_of(x));
    rule.gram("weight", 1, gram_of(y));
    return rule;
  };
  merge(ctx, rule_with(1e-8), models, out);
  for (index_t r = 0; r < 8; ++r)
    CHECK(std::fabs(out.weight(r, 2) - (models[0].weight(r, 2) + models[1].weight(r, 2)) / 2) <=
          1e-6);  // rounding over the ridge
  CHECK(message_of<value_error>([&] { merge(ctx, rule_with(0), models, out); }) ==
        "regmean: weight: a singular sum of Gram matrices, expected a ridge above 0, or more inputs");
  regmean silent;
  for (index_t t = 0; t < 2; ++t) silent.gram("weight", t, array<double, 2>(5, 5));  // no inputs at all
  merge(ctx, silent, models, out);
  CHECK(out.weight(3, 3) == (models[0].weight(3, 3) + models[1].weight(3, 3)) / 2);
}

TEST_CASE("regmean: equal models stay; mistakes") {
  cpu_context ctx;
  const auto one = random_layers(1);
  const std::vector models(2, one[0]);
  layer_model<double> out;
  regmean rule;
  rule.gram("weight", 0, gram_of(stroma_test::normal_matrix<double>(9, 5, 1)));
  CHECK(message_of<value_error>([&] { merge(ctx, rule, models, out); }) ==
        "regmean: weight: no Gram matrix of model 0, expected one for each of 2");
  rule.gram("weight", 1, gram_of(stroma_test::normal_matrix<double>(9, 5, 2)));
  merge(ctx, rule, models, out);
  CHECK(same_bits(out, one[0]));
  rule.gram("weight", 1, array<double, 2>(4, 4));
  CHECK_THROWS_AS(merge(ctx, rule, models, out), shape_error);
  CHECK_THROWS_AS(merge(ctx, regmean({.ridge = -1}), models, out), value_error);
}
