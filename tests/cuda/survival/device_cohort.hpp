#pragma once
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/survival/risk_order.cuh>

#include "support/cuda/check_cost.hpp"
#include "support/device.hpp"
#include "survival/cohort.hpp"

/// Patients on both sides, and cohorts of every shape.
namespace stroma_test {

template <class T>
struct named_cohort {
  std::string name;
  cohort<T> patients;
};
/// Sizes around a warp, a block and a scan's piece; ties of every kind, none, and nothing else; scores up to 1e4.
template <class T>
std::vector<named_cohort<T>> cohorts() {
  std::vector<named_cohort<T>> all;
  for (const std::size_t n : {1u, 31u, 32u, 33u, 1025u, 5000u}) {
    all.push_back({"many ties, n " + std::to_string(n), random_cohort<T>(n, 7, 1)});
    all.push_back({"few ties, n " + std::to_string(n), random_cohort<T>(n, 1 << 20, 2)});
  }
  all.push_back({"all tied", random_cohort<T>(300, 1, 3)});
  all.push_back({"scores up to 700", random_cohort<T>(300, 60, 4, 350)});
  all.push_back({"scores up to 1e4", random_cohort<T>(300, 60, 5, 5000)});
  all.push_back({"no event", random_cohort<T>(100, 20, 6)});
  for (auto& e : all.back().patients.event) e = 0;
  all.push_back({"all died", random_cohort<T>(100, 20, 7)});
  for (auto& e : all.back().patients.event) e = 1;
  all.push_back({"all died at once", random_cohort<T>(100, 1, 8)});
  for (auto& e : all.back().patients.event) e = 1;
  all.push_back({"equal scores", random_cohort<T>(100, 20, 9, 0)});
  all.push_back({"weights of 0, of whole times too", random_cohort<T>(400, 20, 10, 100)});
  auto& zeros = all.back().patients;
  for (std::size_t i = 0; i < 400; ++i)
    if (i % 3 == 0 || zeros.time[i] > 15 || zeros.time[i] == 4) zeros.weight[i] = 0;
  all.push_back({"all weights 0", random_cohort<T>(40, 20, 11)});
  for (auto& w : all.back().patients.weight) w = 0;
  return all;
}

template <class T>
struct cohort_on_device {
  device_vector<T> score, time, weight;
  device_vector<std::uint8_t> event;
  cohort_on_device(stroma::cuda_context& ctx, const cohort<T>& c)
      : score(on_device(ctx, c.score)),
        time(on_device(ctx, c.time)),
        weight(on_device(ctx, c.weight)),
        event(on_device(ctx, c.event)) {}
};

template <class T>
stroma::array<T, 1> number(T x) {
  stroma::array<T, 1> a(1);
  a[0] = x;
  return a;
}
template <class T>
double largest(const stroma::array<T, 1>& x) {
  double most = 0;
  for (const T v : x) most = std::max(most, std::abs(static_cast<double>(v)));
  return most;
}

/// No memory is asked for when f() is called again, and nobody waits more often than said.
template <class F>
void check_called_again(F&& f, std::uint64_t waits = 0) {
  check_cost(f, std::numeric_limits<std::uint64_t>::max(), waits);
}

}  // namespace stroma_test
