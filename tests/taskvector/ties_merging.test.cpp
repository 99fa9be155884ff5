#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/context.hpp>
#include <stroma/taskvector/ties_merging.hpp>

#include "taskvector/models.hpp"

using namespace stroma;

namespace {

using numbers = std::vector<long double>;

/// Values on a coarse grid around 0: ties of magnitudes, zero votes and zeros are frequent.
template <class Model>
std::vector<Model> coarse_vectors(int count, std::uint32_t seed) {
  std::vector<Model> vectors(static_cast<std::size_t>(count));
  random_stream draw(seed);
  for (Model& v : vectors)
    for_each_parameter(
        [&](std::string_view, auto& p) {
          for (auto& x : p) x = static_cast<std::remove_reference_t<decltype(x)>>((double(draw.below(17)) - 8) / 8);
        },
        v);
  return vectors;
}

/// By the book, on one list of numbers. `keep` says which of the elements sorted by size stay.
numbers trimmed(const numbers& x, double density, trim_count count) {
  std::vector<std::size_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return std::fabs(x[a]) > std::fabs(x[b]); });
  const auto r = static_cast<std::size_t>(density * static_cast<double>(x.size()));
  numbers y(x.size(), 0);
  if (count == trim_count::exact) {
    const std::size_t n = density > 0 ? std::max<std::size_t>(r, 1) : 0;
    for (std::size_t i = 0; i < std::min(n, x.size()); ++i) y[order[i]] = x[order[i]];
  } else if (!x.empty()) {
    const long double threshold = std::fabs(x[order[std::min(r, x.size() - 1)]]);
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = std::fabs(x[i]) >= threshold ? x[i] : 0;
  }
  return y;
}
int sign_of(long double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

/// The merged vector of trimmed ones.
numbers merged(const std::vector<numbers>& vectors, const ties_options& o) {
  const std::size_t n = vectors[0].size();
  std::vector<int> sign(n);
  long balance = 0;
  const auto weight = [&](std::size_t t) { return static_cast<long double>(o.weights.empty() ? 1 : o.weights[t]); };
  for (std::size_t i = 0; i < n; ++i) {
    long double vote = 0;
    for (std::size_t t = 0; t < vectors.size(); ++t) {
      const long double value = weight(t) * vectors[t][i];
      vote += o.vote == sign_vote::sum ? value : sign_of(value);
    }
    balance += sign[i] = sign_of(vote);
  }
  numbers out(n, 0);
  for (std::size_t i = 0; i < n; ++i) {
    if (sign[i] == 0) sign[i] = o.zero == zero_vote::positive || balance > 0 ? 1 : -1;
    long double sum = 0, total = 0, largest = 0;
    for (std::size_t t = 0; t < vectors.size(); ++t) {
      const long double value = weight(t) * vectors[t][i];
      if (sign_of(value) != sign[i]) continue;
      sum += value;
      total += weight(t);
      if (std::fabs(value) > std::fabs(largest)) largest = value;
    }
    out[i] = o.merge == agreeing::sum ? sum : o.merge == agreeing::largest ? largest : total != 0 ? sum / total : 0;
  }
  return out;
}

/// Start and length of each scope among the flat elements of a small_model.
template <class Model>
std::vector<std::pair<std::size_t, std::size_t>> scopes(const Model& model, merge_scope scope) {
  std::vector<std::pair<std::size_t, std::size_t>> all;
  std::size_t at = 0;
  for_each_parameter(
      [&]<class Array>(std::string_view, const Array& p) {
        const auto size = static_cast<std::size_t>(p.size());
        std::size_t rows = 1;
        if constexpr (Array::rank == 2) rows = scope == merge_scope::row ? static_cast<std::size_t>(p.rows()) : 1;
        for (std::size_t r = 0; r < rows && size > 0; ++r) all.emplace_back(at + r * size / rows, size / rows);
        at += size;
      },
      model);
  if (scope == merge_scope::model) all = {{0, at}};
  return all;
}

template <class T>
void check_against_definition(const std::vector<small_model<T>>& vectors, const ties_options& o) {
  small_model<T> out;
  cpu_context ctx(2);
  merge(ctx, ties_merging(o), vectors, out);
  const auto found = flat(out);
  std::vector<numbers> all;
  for (const auto& v : vectors) {
    all.push_back(flat(v));
    for (const auto& [begin, length] : scopes(out, o.scope)) {
      const auto first = all.back().begin() + static_cast<std::ptrdiff_t>(begin);
      const numbers part = trimmed(numbers(first, first + static_cast<std::ptrdiff_t>(length)), o.density, o.count);
      std::copy(part.begin(), part.end(), first);
    }
  }
  // Rows are trimmed apart, but vote as a tensor.
  for (const auto& [begin, length] : scopes(out, o.scope == merge_scope::row ? merge_scope::tensor : o.scope)) {
    std::vector<numbers> parts;
    for (const numbers& v : all) {
      const auto first = v.begin() + static_cast<std::ptrdiff_t>(begin);
      parts.emplace_back(first, first + static_cast<std::ptrdiff_t>(length));
    }
    const numbers expected = merged(parts, o);
    for (std::size_t i = 0; i < length; ++i) {
      const long double e = static_cast<long double>(o.scale) * expected[i];
      // A few operations in double, one rounding to T.
      CHECK(std::fabs(found[begin + i] - e) <=
            (std::numeric_limits<T>::epsilon() / 2 + 16 * std::numeric_limits<double>::epsilon()) * std::fabs(e));
    }
  }
}

/// One parameter of two extents.
template <class T>
struct matrix_model {
  array<T, 2> w{1, 10};
  static auto members(auto& s) { return std::tuple{member{"w", s.w}}; }
};
template <class T>
matrix_model<T> row_of(std::initializer_list<double> x) {
  matrix_model<T> m;
  m.w = array<T, 2>(1, static_cast<index_t>(x.size()));
  std::transform(x.begin(), x.end(), m.w.begin(), [](double v) { return static_cast<T>(v); });
  return m;
}
template <class T>
std::vector<double> merged_row(const std::vector<matrix_model<T>>& vectors, const ties_options& o) {
  cpu_context ctx;
  matrix_model<T> out = vectors[0];
  merge(ctx, ties_merging(o), vectors, out);
  return {out.w.begin(), out.w.end()};
}

}  // namespace

TEST_CASE_TEMPLATE("ties_merging: every scope, count, vote and merge against the definition", T, float, double) {
  for (const auto& vectors : {coarse_vectors<small_model<T>>(3, 5), tuned_from(small_model<T>{}, 4)})
    for (const merge_scope scope : {merge_scope::model, merge_scope::tensor, merge_scope::row})
      for (const trim_count count : {trim_count::published, trim_count::exact})
        for (const double density : {0.0, 1.0 / 151, 0.2, 0.5, 1.0}) {
          check_against_definition<T>(vectors, {.density = density, .scope = scope, .count = count});
          check_against_definition<T>(vectors, {.density = density,
                                                .scope = scope,
                                                .count = count,
                                                .vote = sign_vote::count,
                                                .zero = zero_vote::positive,
                                                .merge = agreeing::largest,
                                                .scale = 0.5});
          std::vector<double> weights(vectors.size(), 0.5);
          weights[1] = 2;
          check_against_definition<T>(
              vectors,
              {.density = density, .scope = scope, .count = count, .merge = agreeing::sum, .weights = weights});
          check_against_definition<T>(vectors, {.density = density,
                                                .scope = scope,
                                                .count = count,
                                                .merge = agreeing::mean,
                                                .weights = weights,
                                                .scale = -1});
        }
}

TEST_CASE("ties_merging: magnitudes that differ in the last bits of a double, or by hundreds of powers of ten") {
  std::vector<small_model<double>> vectors(2);
  random_stream draw(3);
  for (auto& v : vectors)
    for_each_parameter(
        [&](std::string_view, auto& p) {
          for (double& x : p) x = (draw.below(2) == 0 ? 1 : -1) * (1 + draw.below(40) * 0x1p-52);
        },
        v);
  for (const double density : {0.1, 0.3, 0.7})
    for (const trim_count count : {trim_count::published, trim_count::exact})
      check_against_definition<double>(vectors, {.density = density, .count = count});
  for (auto& x : vectors[0].weight) x *= std::pow(10.0, static_cast<double>(draw.below(600)) - 300);
  check_against_definition<double>(vectors, {.density = 0.25, .count = trim_count::exact});
}

TEST_CASE_TEMPLATE("ties_merging: the example of the specification", T, float, double) {
  const std::vector<matrix_model<T>> vectors{row_of<T>({.1, -.9, .3, .5, -.2, .7, -.4, .05, .6, -.8}),
                                             row_of<T>({.2, .4, -.6, .9, -.1, -.7, .3, .8, -.05, .5})};
  const auto found = merged_row(vectors, {.density = 0.2, .merge = agreeing::sum});
  const std::vector<double> expected{0, -.9, 0, .9, 0, -.7, 0, .8, 0, -.8};
  for (std::size_t i = 0; i < 10; ++i) CHECK(found[i] == static_cast<T>(expected[i]));
}

TEST_CASE("ties_merging: an exact zero vote") {
  // The elements vote +, 0, +: most are positive, so the tie goes to the positive value.
  const std::vector<matrix_model<double>> up{row_of<double>({1, 2, 1}), row_of<double>({1, -2, 1})};
  CHECK(merged_row(up, {.density = 1}) == std::vector<double>{1, 2, 1});
  const std::vector<matrix_model<double>> down{row_of<double>({-1, 2, -1}), row_of<double>({-1, -2, -1})};
  CHECK(merged_row(down, {.density = 1}) == std::vector<double>{-1, -2, -1});
  CHECK(merged_row(down, {.density = 1, .zero = zero_vote::positive}) == std::vector<double>{-1, 2, -1});
  // Nobody has a majority: negative, as the authors' code has it.
  const std::vector<matrix_model<double>> tie{row_of<double>({3}), row_of<double>({-3})};
  CHECK(merged_row(tie, {.density = 1}) == std::vector<double>{-3});
  CHECK(merged_row(tie, ties_by_tensor(1)) == std::vector<double>{3});
}

TEST_CASE("ties_merging: ties at the threshold") {
  const std::vector<matrix_model<float>> one{row_of<float>({1, -1, 1, 2, -1})};
  CHECK(merged_row(one, {.density = 0.4}) == std::vector<double>{1, -1, 1, 2, -1});  // r + 1 = 3, and two more tie
  CHECK(merged_row(one, {.density = 0.4, .count = trim_count::exact}) == std::vector<double>{1, 0, 0, 2, 0});
  CHECK(merged_row(one, ties_by_tensor(0.4)) == std::vector<double>{1, 0, 0, 2, 0});
  CHECK(merged_row(one, {.density = 0}) == std::vector<double>{0, 0, 0, 2, 0});  // r + 1 = 1
  CHECK(merged_row(one, ties_by_tensor(0)) == std::vector<double>(5, 0));
  const std::vector<matrix_model<float>> zeros{row_of<float>({0, 0, 0})};
  CHECK(merged_row(zeros, {.density = 0.5}) == std::vector<double>(3, 0));
}

TEST_CASE("ties_merging: one element stays, where mergekit ends; one task alone is only trimmed") {
  const std::vector<matrix_model<float>> one{row_of<float>({0.25})};
  CHECK(merged_row(one, ties_by_tensor(0.1)) == std::vector<double>{0.25});
}

TEST_CASE("ties_merging: threads, the number kept, and scale on a base") {
  const auto base = random_model<large_model<float>>(1);
  const auto tuned = tuned_from(base, 3);
  const auto run = [&](int threads, const ties_options& o) {
    cpu_context ctx(threads);
    large_model<float> out;
    merge_report report;
    merge(ctx, ties_merging(o), base, tuned, out, &report);
    const auto n = static_cast<double>(base.weight.size());
    if (o.count == trim_count::exact)
      CHECK(report[0].kept == static_cast<double>(static_cast<index_t>(o.density * n)) / n);
    return out;
  };
  for (const auto& o : {ties_options{}, ties_by_tensor(0.3), ties_options{.count = trim_count::exact}}) {
    const auto one = run(1, o);
    CHECK(same_bits(one, run(2, o)));
    CHECK(same_bits(one, run(3, o)));
    CHECK(!same_bits(one, base));
  }
  ties_options still;
  still.scale = 0;
  CHECK(same_bits(run(1, still), base));
}

TEST_CASE("ties_merging: mistakes") {
  cpu_context ctx;
  const std::vector<small_model<float>> vectors(2);
  small_model<float> out;
  CHECK(message_of<value_error>([&] { merge(ctx, ties_merging({.density = 20}), vectors, out); }) ==
        "ties_merging: options.density: 20, expected 0 to 1");
  CHECK(message_of<value_error>([&] {
          merge(ctx, ties_merging({.weights = {1, -1}}), vectors, out);
        }) == "ties_merging: options.weights[1]: -1, expected 0 or more (of a mean)");
  CHECK_THROWS_AS(merge(ctx, ties_merging({.vote = sign_vote::none}), vectors, out), value_error);
  merge(ctx, ties_merging({.merge = agreeing::sum, .weights = {1, -1}}), vectors, out);
}
