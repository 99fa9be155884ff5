#include <cmath>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/survival/cox_partial_likelihood.cuh>

#include "cuda/survival/device_cohort.hpp"

using namespace stroma_test;
using stroma::cox_options, stroma::ties, stroma::reduction;

namespace {

constexpr double eps = std::numeric_limits<double>::epsilon();
const std::vector<cox_options> all_options{{ties::breslow, reduction::sum},
                                           {ties::efron, reduction::sum},
                                           {ties::breslow, reduction::mean},
                                           {ties::efron, reduction::mean}};

template <class T>
struct outcome {
  stroma::array<T, 1> value{1}, gradient;
};
template <class T>
outcome<T> on_the_host(const cohort<T>& c, bool weighted, const cox_options& options) {
  stroma::cpu_context ctx;
  outcome<T> out{stroma::array<T, 1>(1), stroma::array<T, 1>(static_cast<index_t>(c.score.size()))};
  const auto order = weighted ? stroma::risk_order(ctx, c.time, c.event, {.weight = c.weight})
                              : stroma::risk_order(ctx, c.time, c.event);
  stroma::cox_partial_likelihood(ctx, c.score, order, {out.value.data(), as_view(out.gradient)}, options);
  return out;
}
template <class T>
stroma::cox_output<T, stroma::device_space> output(device_vector<T>& value, device_vector<T>& gradient) {
  return {value.data(), as_view(gradient)};
}

/// Both sum in double, in other orders; terms of the value, and of d + w in a gradient, are not negative. The last
/// rounding is to T.
template <class T>
double error_of(stroma::cuda_context& ctx, const cohort<T>& c, const outcome<T>& host, const device_vector<T>& value,
                const device_vector<T>& gradient) {
  const auto n = static_cast<double>(c.score.size());
  double weight = 1, spread = 0;
  for (const T w : c.weight) weight = std::max(weight, static_cast<double>(w));
  for (const T s : c.score) spread = std::max(spread, std::abs(static_cast<double>(s)));
  const double t_eps = static_cast<double>(std::numeric_limits<T>::epsilon());
  const double v = std::abs(static_cast<double>(host.value[0])) + weight * n, d = largest(host.gradient) + weight;
  return std::max(device_error(ctx, value, host.value, eps * (2 * n + 64) * v + t_eps * v),
                  device_error(ctx, gradient, host.gradient, eps * (4 * n + spread + 64) * d + t_eps * d));
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: cox_partial_likelihood: value and gradient of the host", T, STROMA_DEVICE_SCALARS) {
  stroma::cuda_context ctx;
  for (const auto& [name, c] : cohorts<T>()) {
    const cohort_on_device<T> d(ctx, c);
    const stroma::risk_order order(ctx, d.time, d.event), weighted(ctx, d.time, d.event, {.weight = d.weight});
    const auto n = static_cast<index_t>(c.score.size());
    for (const cox_options& options : all_options) {
      const auto& cohort_name = name;  // clang 14 does not capture a binding
      CAPTURE(cohort_name);
      CAPTURE(static_cast<int>(options.tie_method));
      device_vector<T> value(1), gradient(n);
      const auto expected = on_the_host(c, false, options);
      stroma::cox_partial_likelihood(ctx, d.score, order, output(value, gradient), options);
      CHECK(error_of(ctx, c, expected, value, gradient) <= 1);
      const auto first_value = on_host(ctx, value), first_gradient = on_host(ctx, gradient);
      stroma::cox_partial_likelihood(ctx, d.score, d.time, d.event, output(value, gradient), options);
      CHECK(same_matrix(stroma::matrix_view<const T>(first_gradient.data(), n, 1),
                        stroma::matrix_view<const T>(on_host(ctx, gradient).data(), n, 1)));
      value.fill(T(-1));
      stroma::cox_partial_likelihood(ctx, d.score, order, {value.data(), {}}, options);
      CHECK(same_bits(on_host(ctx, value)[0], first_value[0]));
      stroma::cox_partial_likelihood(ctx, d.score, weighted, output(value, gradient), options);
      CHECK(error_of(ctx, c, on_the_host(c, true, options), value, gradient) <= 1);
      CHECK(std::isfinite(on_host(ctx, value)[0]));
    }
  }
}

TEST_CASE("cuda: cox_partial_likelihood: strata, late entry and the Hessian's diagonal as on the host") {
  stroma::cuda_context ctx;
  stroma::cpu_context host;
  const auto check = [&](const cohort<double>& c, int kind) {
    CAPTURE(kind);
    const auto n = static_cast<index_t>(c.score.size());
    const cohort_on_device<double> d(ctx, c);
    const auto entry = on_device(ctx, c.entry);
    const auto stratum = on_device(ctx, c.stratum);
    stroma::risk_order_options<> columns;
    stroma::risk_order_options<stroma::device_space> device_columns;
    if ((kind & 1) != 0) columns.weight = c.weight, device_columns.weight = d.weight;
    if ((kind & 2) != 0) columns.entry = c.entry, device_columns.entry = entry;
    if ((kind & 4) != 0) columns.stratum = c.stratum, device_columns.stratum = stratum;
    const stroma::risk_order host_order(host, c.time, c.event, columns);
    const stroma::risk_order order(ctx, d.time, d.event, device_columns);
    for (const cox_options& options : all_options) {
      outcome<double> expected{stroma::array<double, 1>(1), stroma::array<double, 1>(n)};
      stroma::array<double, 1> expected_diagonal(n);
      stroma::cox_partial_likelihood(host, c.score, host_order,
                                     {expected.value.data(), as_view(expected.gradient), as_view(expected_diagonal)},
                                     options);
      device_vector<double> value(1), gradient(n), diagonal(n);
      stroma::cox_partial_likelihood(ctx, d.score, order, {value.data(), as_view(gradient), as_view(diagonal)},
                                     options);
      CHECK(error_of(ctx, c, expected, value, gradient) <= 1);
      const double chance = largest(expected.gradient) + 2;  // of every time together; second derivatives are below
      CHECK(device_error(ctx, diagonal, expected_diagonal, eps * 2 * (4 * static_cast<double>(n) + 64) * chance) <= 1);
      const auto first = on_host(ctx, diagonal);
      gradient.fill(5);
      stroma::cox_partial_likelihood(ctx, d.score, order, {value.data(), {}, as_view(diagonal)}, options);
      CHECK(same_matrix(stroma::matrix_view<const double>(first.data(), n, 1),
                        stroma::matrix_view<const double>(on_host(ctx, diagonal).data(), n, 1)));
    }
  };
  for (const std::size_t n : {1u, 2u, 33u, 300u})
    for (int kind = 0; kind < 8; ++kind) check(random_cohort<double>(n, 30, static_cast<unsigned>(n)), kind);
  check(random_cohort<double>(2500, 1 << 20, 5, 3), 7);  // hardly a tie, more than one piece of a scan
  check(random_cohort<double>(2500, 3, 6, 3), 7);        // hundreds of deaths at a time
  check(random_cohort<double>(200, 30, 7, 5000), 7);

  // R's likelihood is 5 off: someone with a large score enters late
  auto late = random_cohort<double>(60, 40, 19, 0.25);
  late.score[0] = 38;
  late.time[0] = 39;
  late.event[0] = 1;
  late.entry.assign(60, -1);
  late.entry[0] = 20;
  check(late, 2);
}

TEST_CASE("cuda: cox_partial_likelihood: a number added to all scores changes nothing") {
  stroma::cuda_context ctx;
  auto c = random_cohort<double>(300, 40, 21);
  const cohort_on_device<double> d(ctx, c);
  for (auto& s : c.score) s += 1024;  // multiples of 1/8: exact
  const auto moved = on_device(ctx, c.score);
  const stroma::risk_order order(ctx, d.time, d.event, {.weight = d.weight});
  device_vector<double> value(1), gradient(300), moved_value(1), moved_gradient(300);
  stroma::cox_partial_likelihood(ctx, d.score, order, output(value, gradient));
  stroma::cox_partial_likelihood(ctx, moved, order, output(moved_value, moved_gradient));
  const double found = on_host(ctx, value)[0], there = on_host(ctx, moved_value)[0];
  CHECK(std::abs(found - there) <= 8 * eps * found);  // exp of other numbers is rounded otherwise
  CHECK(device_error(ctx, gradient, on_host(ctx, moved_gradient), (8 + 2 * 300) * 2 * eps) <= 1);
}

TEST_CASE("cuda: cox_partial_likelihood: scores and gradients apart in memory, and nobody") {
  stroma::cuda_context ctx;
  const auto c = random_cohort<double>(65, 9, 22);
  const cohort_on_device<double> d(ctx, c);
  const stroma::risk_order order(ctx, d.time, d.event);
  const auto apart = on_device(ctx, spread_out(c.score, 3, std::numeric_limits<double>::quiet_NaN()));
  device_vector<double> value(1), gradient(130);
  stroma::cox_partial_likelihood(
      ctx, stroma::vector_view<const double, stroma::device_space>(apart.data(), 65, 3), order,
      {value.data(), stroma::vector_view<double, stroma::device_space>(gradient.data(), 65, 2)});
  const auto expected = on_the_host(c, false, {});
  const auto found = on_host(ctx, gradient);
  for (index_t i = 0; i < 65; ++i) {
    CHECK(std::abs(found[2 * i] - expected.gradient[i]) <= 65 * eps * (largest(expected.gradient) + 1));
    CHECK(found[2 * i + 1] == 0);
  }
  const device_vector<double> none;
  value.fill(7);
  stroma::cox_partial_likelihood(ctx, none, none, none, {value.data(), {}});
  CHECK(on_host(ctx, value)[0] == 0);
}

TEST_CASE_TEMPLATE("cuda: cox_partial_likelihood: recorded on a graph", T, STROMA_DEVICE_SCALARS) {
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  stroma::graph<T> g(host);
  stroma::graph<T, stroma::backend::cuda> on_gpu(ctx);
  const auto c = random_cohort<T>(333, 50, 12);
  const cohort_on_device<T> d(ctx, c);
  const cox_options options{ties::efron, reduction::mean};
  const stroma::risk_order host_order(host, c.time, c.event, {.weight = c.weight});
  const stroma::risk_order order(ctx, d.time, d.event, {.weight = d.weight});
  stroma::array<T, 1> expected(333);
  device_vector<T> gradient(333);
  for (const bool kept : {true, false}) {
    g.reset();
    on_gpu.reset();
    const auto score = g.variable({c.score.data(), 333, 1}, {expected.data(), 333, 1});
    const auto loss = kept ? stroma::cox_partial_likelihood(g, score, host_order, options)
                           : stroma::cox_partial_likelihood(g, score, c.time, c.event, options);
    g.backward(loss, T(2));
    const auto device_score = on_gpu.variable({d.score.data(), 333, 1}, {gradient.data(), 333, 1});
    const auto device_loss = kept ? stroma::cox_partial_likelihood(on_gpu, device_score, order, options)
                                  : stroma::cox_partial_likelihood(on_gpu, device_score, d.time, d.event, options);
    on_gpu.backward(device_loss, T(2));
    const double allowed = 8 * static_cast<double>(std::numeric_limits<T>::epsilon());
    CHECK(std::abs(on_gpu.scalar_value(device_loss) - g.scalar_value(loss)) <=
          allowed * std::abs(g.scalar_value(loss)));
    CHECK(device_error(ctx, gradient, expected, 4 * allowed * (largest(expected) + 1)) <= 1);
  }
  stroma::graph<T, stroma::backend::cuda> inference(ctx, stroma::graph_mode::inference);
  const auto value = stroma::cox_partial_likelihood(inference, inference.input(d.score), order, options);
  CHECK(std::isfinite(inference.scalar_value(value)));
}

TEST_CASE("cuda: cox_partial_likelihood: the second call allocates nothing, and none waits") {
  stroma::cuda_context ctx;
  const auto c = random_cohort<float>(3000, 500, 13);
  const cohort_on_device<float> d(ctx, c);
  const stroma::risk_order order(ctx, d.time, d.event, {.weight = d.weight});
  device_vector<float> value(1), gradient(3000);
  const cox_options options{ties::efron, reduction::mean};
  check_called_again([&] { stroma::cox_partial_likelihood(ctx, d.score, order, output(value, gradient), options); });
  check_called_again([&] { stroma::cox_partial_likelihood(ctx, d.score, d.time, d.event, output(value, gradient)); });
  stroma::graph<float, stroma::backend::cuda> g(ctx);
  check_called_again([&] {
    g.reset();
    const auto score = g.variable({d.score.data(), 3000, 1}, {gradient.data(), 3000, 1});
    g.backward(stroma::cox_partial_likelihood(g, score, order, options));
  });
}

TEST_CASE("cuda: cox_partial_likelihood: bad values and lengths") {
  stroma::cuda_context ctx;
  const auto time = on_device(ctx, std::vector<double>{1, 2, 3}), event = on_device(ctx, std::vector<double>{1, 1, 0});
  const auto bad = on_device(ctx, std::vector<double>{1, std::numeric_limits<double>::quiet_NaN(), 0});
  const auto two = on_device(ctx, std::vector<double>{1, 1});
  const stroma::risk_order order(ctx, time, event);
  device_vector<double> value(1), gradient(3), short_gradient(2);
  const auto out = output(value, gradient);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::cox_partial_likelihood(ctx, bad, order, out), stroma::value_error);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::cox_partial_likelihood(ctx, time, bad, event, out), stroma::value_error);
  CHECK_THROWS_ON_DEVICE(ctx, stroma::cox_partial_likelihood(ctx, time, time, bad, out), stroma::value_error);
  stroma::cox_partial_likelihood(ctx, bad, bad, bad, out, {.check_values = false});
  stroma::cox_partial_likelihood(ctx, bad, bad, bad, out, {.tie_method = ties::efron, .check_values = false});
  CHECK_NOTHROW(ctx.synchronize());
  stroma::cox_partial_likelihood(ctx, bad, order, out, {.check_values = false});
  CHECK(std::isnan(on_host(ctx, value)[0]));  // as on the host
  CHECK_THROWS_AS(stroma::cox_partial_likelihood(ctx, two, order, out), stroma::shape_error);
  CHECK(message_of<stroma::value_error>(
            [&] { stroma::cox_partial_likelihood(ctx, time, order, out, {.tie_method = ties::exact}); }) ==
        "cox_partial_likelihood: tie_method: exact ties on a device, expected breslow or efron (exact is for host "
        "data)");
  CHECK_THROWS_AS(stroma::cox_partial_likelihood(ctx, two, time, event, out), stroma::shape_error);
  CHECK_THROWS_AS(stroma::cox_partial_likelihood(ctx, time, order, output(value, short_gradient)), stroma::shape_error);
}
