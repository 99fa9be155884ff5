#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/fisher.hpp>
#include <stroma/taskvector/weighted_average.hpp>

#include "support/counting_allocator.hpp"
#include "taskvector/models.hpp"

using namespace stroma;

namespace {

template <class T>
std::vector<small_model<T>> random_information(int count) {
  std::vector<small_model<T>> f;
  for (int t = 0; t < count; ++t) {
    f.push_back(random_model<small_model<T>>(50 + static_cast<std::uint32_t>(t), 0.1));
    for_each_parameter(
        [](std::string_view, auto& p) {
          for (auto& x : p) x = x * x;
        },
        f.back());
  }
  return f;
}

}  // namespace

TEST_CASE_TEMPLATE("fisher: by the formula, with and without norms and floors", T, float, double) {
  cpu_context ctx(2);
  const auto models = tuned_from(random_model<small_model<T>>(1), 3);
  const auto information = random_information<T>(3);
  for (const bool normalise : {false, true})
    for (const fisher_floor floored : {fisher_floor::first, fisher_floor::all})
      for (const double floor : {0.0, 1e-3}) {
        const std::vector<double> weights{1, 0.5, 2};
        small_model<T> out;
        merge_fisher(ctx, models, information, out, {weights, floor, floored, normalise});
        const auto found = flat(out);
        std::vector<std::vector<long double>> f, x;
        std::vector<long double> norm;
        for (std::size_t t = 0; t < 3; ++t) {
          f.push_back(flat(information[t]));
          x.push_back(flat(models[t]));
          long double squares = 0;
          for (long double& v : f[t]) {
            if (t == 0 || floored == fisher_floor::all) v = std::max(v, static_cast<long double>(floor));
            squares += v * v;
          }
          norm.push_back(normalise ? std::sqrt(squares) : 1);
        }
        for (std::size_t i = 0; i < found.size(); ++i) {
          long double sum = 0, total = 0;
          for (std::size_t t = 0; t < 3; ++t) {
            sum += static_cast<long double>(weights[t]) * f[t][i] / norm[t] * x[t][i];
            total += static_cast<long double>(weights[t]) * f[t][i] / norm[t];
          }
          // Positive weights of models of size up to 4; sums of 151 squares in the norms.
          CHECK(std::fabs(found[i] - sum / total) <=
                4 * (std::numeric_limits<T>::epsilon() / 2 + 170 * std::numeric_limits<double>::epsilon()));
        }
      }
}

TEST_CASE("fisher: equal informations are the average; where nobody knows, the first or the mean") {
  cpu_context ctx;
  const auto models = tuned_from(random_model<small_model<double>>(1), 3);
  small_model<double> ones, out, mean;
  for_each_parameter([](std::string_view, auto& p) { p.fill(0.25); }, ones);
  merge(ctx, weighted_average(), models, mean);
  const auto near_mean = [&] {
    for (std::size_t i = 0; i < flat(out).size(); ++i)
      CHECK(std::fabs(flat(out)[i] - flat(mean)[i]) <= 32 * std::numeric_limits<double>::epsilon());
  };
  merge_fisher(ctx, models, std::vector(3, ones), out);
  near_mean();
  const std::vector<small_model<double>> nothing(3);
  merge_fisher(ctx, models, nothing, out, {.floor = 0});
  near_mean();
  merge_fisher(ctx, models, nothing, out, {.floored = fisher_floor::all});
  near_mean();
  merge_fisher(ctx, models, nothing, out);
  for (std::size_t i = 0; i < flat(out).size(); ++i)
    CHECK(std::fabs(flat(out)[i] - flat(models[0])[i]) <= 8 * std::numeric_limits<double>::epsilon());
}

TEST_CASE("fisher: information is added up from gradients") {
  cpu_context ctx;
  const auto g = random_model<small_model<double>>(1), h = random_model<small_model<double>>(2);
  small_model<double> information;
  add_information(ctx, 0.25, g, information);
  add_information(ctx, 0.75, h, information);
  for (std::size_t i = 0; i < flat(g).size(); ++i) {
    const long double wanted = 0.25L * flat(g)[i] * flat(g)[i] + 0.75L * flat(h)[i] * flat(h)[i];
    CHECK(std::fabs(flat(information)[i] - wanted) <= 4 * std::numeric_limits<double>::epsilon() * wanted);
  }
  CHECK(allocations_in([&] { add_information(ctx, 0.25, g, information); }) == 0);
  CHECK_THROWS_AS(add_information(ctx, -1, g, information), value_error);
}

TEST_CASE("fisher: mistakes") {
  cpu_context ctx;
  const std::vector<small_model<double>> models(2);
  std::vector<small_model<double>> information(2);
  small_model<double> out;
  CHECK(message_of<value_error>([&] { merge(ctx, fisher(), models, out); }) ==
        "fisher: weight: no information, expected one for each model");
  CHECK_THROWS_AS(merge_fisher(ctx, models, std::vector<small_model<double>>(1), out), shape_error);
  CHECK_THROWS_AS(merge_fisher(ctx, models, information, out, {.weights = {0, 0}}), value_error);
  information[1].row(0, 2) = -1;
  CHECK(message_of<value_error>([&] { merge_fisher(ctx, models, information, out); }) ==
        "fisher: importance[1]: row: -1 at 2, expected finite numbers of 0 or more");
  const auto before = out = random_model<small_model<double>>(1);
  CHECK_THROWS_AS(merge_fisher(ctx, models, information, out, {.normalise = false}), value_error);
  CHECK(same_bits(out, before));  // the tensor before it was not written
  CHECK_THROWS_AS(merge_fisher(ctx, models, information, information[0]), value_error);
}
