#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/merge.hpp>
#include <stroma/taskvector/task_arithmetic.hpp>
#include <stroma/taskvector/weighted_average.hpp>

#include "taskvector/models.hpp"

using namespace stroma;

namespace {

/// A user's rule with two passes: all elements are moved by the mean of all task vectors' elements.
struct shift_by_mean {
  double sum = 0, count = 0;
  int passes = 0;
  std::vector<std::string>* seen = nullptr;

  [[nodiscard]] static std::string_view name() { return "shift_by_mean"; }
  static void begin(index_t) {}
  [[nodiscard]] bool wants_pass() const { return passes < 2; }
  template <class T>
  void observe(cpu_context&, const tensor_slices<T>& s) {
    if (passes == 0) seen->push_back(std::string(s.name) + (s.is_matrix ? "*" : ""));
    for (const T* model : s.models)
      for (index_t i = 0; passes == 1 && i < s.size(); ++i) {
        sum += model[i] - s.base[i];
        count += 1;
      }
  }
  void conclude() { ++passes; }
  template <class T>
  index_t merge(cpu_context&, const tensor_slices<T>& s, T* out) const {
    for (index_t r = 0; r < s.rows; ++r)
      for (index_t c = 0; c < s.cols; ++c) out[r * s.cols + c] = static_cast<T>(s.base[r * s.cols + c] + sum / count);
    return s.size();
  }
};
static_assert(merging_rule<shift_by_mean> && merging_rule<weighted_average>);

}  // namespace

TEST_CASE("merge: a user's own rule sees every tensor, pass by pass") {
  cpu_context ctx;
  const small_model<double> base;
  auto tuned = tuned_from(base, 2);
  std::vector<std::string> seen;
  small_model<double> out;
  merge(ctx, shift_by_mean{0, 0, 0, &seen}, base, tuned, out);
  CHECK(seen == std::vector<std::string>{"weight*", "row*", "bias", "one", "none"});
  double mean = 0;
  for (const auto& m : tuned)
    for (const auto x : flat(m)) mean += static_cast<double>(x);
  mean /= 2 * static_cast<double>(flat(base).size());
  CHECK(out.one[0] == doctest::Approx(mean).epsilon(1e-12));
  CHECK(out.weight(12, 6) == out.one[0]);
}

TEST_CASE("merge: what changed") {
  cpu_context ctx;
  small_model<float> base;
  base.bias.fill(1);
  std::vector<small_model<float>> tuned(3, base);
  tuned[0].bias[0] += 3;  // task vectors (3, 4), (3, -4), 0
  tuned[0].bias[1] += 4;
  tuned[1].bias[0] += 3;
  tuned[1].bias[1] -= 4;
  small_model<float> out;
  merge_report report;
  merge(ctx, task_arithmetic({.scale = 0.5}), base, tuned, out, &report);
  REQUIRE(report.size() == 5);
  const tensor_change& bias = report[2];
  CHECK(bias.name == "bias");
  CHECK(bias.size == 13);
  CHECK(bias.vector_norms == std::vector<double>{5, 5, 0});
  CHECK(bias.change_norm == 3);
  CHECK(bias.mean_cosine == doctest::Approx((9 - 16) / 25.0 / 3).epsilon(1e-15));
  CHECK(bias.sign_conflicts == 1 / 13.0);
  CHECK(bias.kept == 1);
  CHECK(report[4].size == 0);
  CHECK(report[4].change_norm == 0);
  CHECK(report[4].kept == 1);
}

TEST_CASE("merge: the report's sums over several pieces, any number of threads") {
  const auto base = random_model<large_model<float>>(1);
  const auto tuned = tuned_from(base, 2);
  large_model<float> out;
  const auto run = [&](int threads) {
    cpu_context ctx(threads);
    merge_report report;
    merge(ctx, weighted_average(), base, tuned, out, &report);
    return report[0];
  };
  const auto one = run(1), three = run(3);
  CHECK(one.vector_norms == three.vector_norms);
  CHECK(one.mean_cosine == three.mean_cosine);
  long double squares[2] = {}, product = 0, conflicts = 0;
  for (index_t i = 0; i < base.weight.size(); ++i) {
    const long double a = static_cast<long double>(tuned[0].weight[i]) - base.weight[i],
                      b = static_cast<long double>(tuned[1].weight[i]) - base.weight[i];
    squares[0] += a * a;
    squares[1] += b * b;
    product += a * b;
    conflicts += a * b < 0;
  }
  // Chains of 65536 / 4 additions in double.
  const double rounding = 65536.0 / 4 * std::numeric_limits<double>::epsilon();
  CHECK(one.vector_norms[0] == doctest::Approx(static_cast<double>(std::sqrt(squares[0]))).epsilon(rounding));
  CHECK(one.vector_norms[1] == doctest::Approx(static_cast<double>(std::sqrt(squares[1]))).epsilon(rounding));
  CHECK(std::fabs(one.mean_cosine - static_cast<double>(product / std::sqrt(squares[0] * squares[1]))) <= rounding);
  CHECK(one.sign_conflicts == static_cast<double>(conflicts / static_cast<long double>(base.weight.size())));
}

TEST_CASE("merge: mistakes leave the result as it was") {
  cpu_context ctx;
  const small_model<float> base;
  std::vector<small_model<float>> tuned(2);
  auto out = random_model<small_model<float>>(1);
  const auto before = out;
  const weighted_average rule;
  CHECK(message_of<value_error>([&] { merge(ctx, rule, std::span<const small_model<float>>(), out); }) ==
        "weighted_average: models: none, expected 1 or more");
  CHECK(message_of<value_error>([&] { merge(ctx, rule, base, tuned, tuned[1]); }) ==
        "weighted_average: out: one of the inputs, expected an object of its own");
  CHECK(message_of<shape_error>([&] {
          merge(ctx, weighted_average({.weights = {1, 2, 3}}), base, tuned, out);
        }) == "weighted_average: weights: length 3, expected 2 (the number of models)");
  tuned[1].row(0, 3) = std::nanf("");
  CHECK(message_of<value_error>([&] { merge(ctx, rule, base, tuned, out); }) ==
        "weighted_average: models[1]: row: nan at 3, expected finite values");
  tuned[1].row = array<float, 2>(1, 34);
  CHECK(message_of<shape_error>([&] { merge(ctx, rule, base, tuned, out); }) ==
        "weighted_average: models[1]: row of 1 x 34, expected 1 x 33");
  CHECK(same_bits(out, before));
}
