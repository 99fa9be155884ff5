#include <doctest/doctest.h>

#include <stroma/survival/discretise.hpp>

#include "support/counting_allocator.hpp"
#include "survival/golden.hpp"

using namespace stroma;

TEST_CASE("discretise: STEPH's years, closed on the left") {
  cpu_context ctx;
  std::vector<double> edge(31);
  equal_width_edges(ctx, 11680, edge);
  for (std::size_t b = 0; b < 31; ++b) CHECK(edge[b] == 365.0 * static_cast<double>(b + 1));
  std::vector<double> time;
  for (int t = 0; t < 12500; t += 73) time.push_back(t);
  time.push_back(364.999);
  std::vector<int> bin(time.size());
  discretise(ctx, time, edge, bin);
  for (std::size_t i = 0; i < time.size(); ++i) CHECK(bin[i] == std::min(static_cast<int>(time[i] / 365), 31));
}

TEST_CASE_TEMPLATE("quantile_edges: between observed times, linear", T, double, float) {
  cpu_context ctx;
  const std::vector<T> time{5, 1, 3, 2, 4, 100, 50};
  const std::vector<int> event{1, 1, 1, 1, 1, 0, 0};
  std::vector<T> edge(3);
  quantile_edges(ctx, time, event, edge);
  CHECK(edge == std::vector<T>{2, 3, 4});
  std::vector<std::uint8_t> bin(7);
  discretise(ctx, time, edge, bin);
  CHECK(bin == std::vector<std::uint8_t>{3, 0, 2, 1, 3, 3, 3});
  std::vector<T> half(1);
  quantile_edges(ctx, std::vector<T>{1, 2}, std::vector<int>{1, 1}, half);
  CHECK(half[0] == T(1.5));
  quantile_edges(ctx, std::vector<T>{7}, std::vector<int>{1}, edge);  // one event: equal edges, empty bins between
  CHECK(edge == std::vector<T>{7, 7, 7});
  std::vector<T> none;
  quantile_edges(ctx, time, event, none);
  discretise(ctx, time, none, bin);
  CHECK(bin == std::vector<std::uint8_t>(7, 0));
}

TEST_CASE("discretise, lived_part: the golden definition, closed on the right") {
  cpu_context ctx;
  for (const auto& name : golden::sets()) {
    const auto expected = golden::cases(name, "curves").at("prediction");
    if (expected.is_null()) continue;
    CAPTURE(name);
    const auto& of = expected["discrete"];
    const auto edges = golden::numbers(of["edges"]);
    const std::vector<double> edge(edges.begin() + 1, edges.end() - 1);
    auto time = golden::table(name)["time"];
    time.resize(of["rows"].get<std::size_t>());
    std::vector<std::int64_t> bin(time.size());
    std::vector<double> part(time.size());
    const discretise_options options{.closed = closed_side::right};
    discretise(ctx, time, edge, bin, options);
    lived_part(ctx, time, edge, edges.back(), bin, part, options);
    CHECK(golden::close(bin, of["idx"], 0));
    CHECK(golden::close(part, of["frac"], 1e-9));
  }
}

TEST_CASE("discretise, lived_part: edges, bins without width, beyond the end") {
  cpu_context ctx;
  const std::vector<double> time{0, 1, 2, 2.5, 3, 4, 5}, edge{1, 2, 2, 4}, none;
  std::vector<int> left(7), right(7);
  std::vector<float> part(7);
  discretise(ctx, time, edge, left);
  CHECK(left == std::vector<int>{0, 1, 3, 3, 3, 4, 4});
  lived_part(ctx, time, edge, 4.5, left, part);
  CHECK(part == std::vector<float>{0, 0, 0, 0.25, 0.5, 0, 1});
  discretise(ctx, time, edge, right, {.closed = closed_side::right});
  CHECK(right == std::vector<int>{0, 0, 1, 3, 3, 3, 4});
  lived_part(ctx, time, edge, 4.5, right, part);
  CHECK(part == std::vector<float>{0, 1, 1, 0.25, 0.5, 1, 1});
  lived_part(ctx, time, edge, 4.5, std::vector<int>{0, 0, 2, 2, 4, 4, 4}, part);  // not its bin; a bin of no width
  CHECK(part == std::vector<float>{0, 1, 1, 1, 0, 0, 1});
  lived_part(ctx, time, none, 5, std::vector<int>(7), part);
  CHECK(part[3] == 0.5f);
  CHECK(allocations_in([&] { lived_part(ctx, time, edge, 5, left, part); }) == 0);
}

TEST_CASE("discretise: strides, whole times, no allocation") {
  cpu_context ctx;
  std::vector<int> time{0, -5, 10, -5, 9, -5}, bin(6, 77);
  const std::vector<int> edge{5, 10};
  discretise(ctx, strided(time, 2), edge, strided(bin, 2));
  CHECK(bin == std::vector<int>{0, 77, 2, 77, 1, 77});
  const std::vector<double> t{3, 1, 2};
  const std::vector<int> e{1, 1, 0};
  std::vector<double> edges(2);
  quantile_edges(ctx, t, e, edges);
  CHECK(allocations_in([&] { quantile_edges(ctx, t, e, edges); }) == 0);
}

TEST_CASE("discretise: refuses what does not fit") {
  cpu_context ctx;
  const std::vector<double> time{1, 2}, edge{1, 0.5}, bad{-1, 2}, rising{0, 1};
  const std::vector<int> event{1, 0}, none{0, 0}, three(3);
  std::vector<int> bin(2), bins(3);
  std::vector<double> edges(3);
  CHECK(message_of<value_error>([&] { equal_width_edges(ctx, 0.0, edges); }) ==
        "equal_width_edges: last: 0, expected a number above 0");
  CHECK(message_of<shape_error>([&] { quantile_edges(ctx, time, three, edges); }) ==
        "quantile_edges: event: length 3, expected 2 (the length of time)");
  CHECK(message_of<value_error>([&] { quantile_edges(ctx, time, none, edges); }) ==
        "quantile_edges: event: none observed, expected at least one observed event");
  CHECK(message_of<shape_error>([&] { discretise(ctx, time, rising, bins); }) ==
        "discretise: bin: length 3, expected 2 (the length of time)");
  CHECK(message_of<value_error>([&] { discretise(ctx, time, edge, bin); }) ==
        "discretise: edge: a fall at 1, expected numbers that never fall");
  CHECK(message_of<value_error>([&] { discretise(ctx, bad, rising, bin); }) ==
        "discretise: time: -1 at 0, expected finite times of 0 or later");
  const std::vector<double> inner{1};
  const std::vector<int> far{0, 2};
  std::vector<double> part(2);
  CHECK(message_of<shape_error>([&] { lived_part(ctx, time, inner, 3, far, edges); }) ==
        "lived_part: part: length 3, expected 2 (the length of time)");
  CHECK(message_of<shape_error>([&] { lived_part(ctx, time, inner, 3, bins, part); }) ==
        "lived_part: bin: length 3, expected 2 (the length of time)");
  CHECK(message_of<value_error>([&] { lived_part(ctx, time, inner, 3, far, part); }) ==
        "lived_part: bin: 2 at 1, expected 0 to 1");
  CHECK(message_of<value_error>([&] { lived_part(ctx, time, inner, 0, bin, part); }) ==
        "lived_part: last: 0, expected a number above 0");
}
