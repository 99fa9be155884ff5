#pragma once
#include <string_view>
#include <tuple>
#include <vector>

#include <stroma/backend/cpu/primitives.hpp>
#include <stroma/backend/cuda/array.cuh>
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/core/members.hpp>

#include "cuda/nn/device_cases.hpp"

namespace stroma_test {

/// Parameters of all kinds: some of several pieces of a launch, one of one, one empty, and more than a launch takes.
template <class T, class Backend = stroma::backend::cpu>
struct test_model {
  using space = typename Backend::space;
  struct part {
    stroma::array<T, 1, space> v{3};
    static auto members(auto& s) { return std::tuple{stroma::member{"v", s.v}}; }
  };
  stroma::array<T, 2, space> weight{130, 71}, row{1, 33};
  stroma::array<T, 1, space> bias{2048}, one{1}, none{0};
  std::vector<part> many = std::vector<part>(40);
  stroma::array<T, 1, space> last{2049};
  static auto members(auto& s) {
    using stroma::member;
    return std::tuple{member{"weight", s.weight}, member{"row", s.row},   member{"bias", s.bias}, member{"one", s.one},
                      member{"none", s.none},     member{"many", s.many}, member{"last", s.last}};
  }
};
template <class T>
using device_model = test_model<T, stroma::backend::cuda>;

/// Parameters of two scalars in one model.
template <class Backend>
struct mixed_model {
  using space = typename Backend::space;
  stroma::array<float, 1, space> single{300};
  stroma::array<double, 2, space> twice{20, 30};
  static auto members(auto& s) {
    return std::tuple{stroma::member{"single", s.single}, stroma::member{"twice", s.twice}};
  }
};

template <class Model>
void fill_normal(Model& model, std::uint64_t seed, double scale = 1) {
  stroma::random_stream draw(seed);
  stroma::for_each_parameter(
      [&](std::string_view, auto& p) {
        for (auto& x : p) x = static_cast<std::remove_reference_t<decltype(x)>>(scale * draw.normal());
      },
      model);
}
/// Largest difference of two models in units of eps (terms + 8) max(1, |host|).
template <class Device, class Host>
double model_error(stroma::cuda_context& ctx, const Device& device, const Host& host, double terms) {
  Host found = host;
  stroma::transfer_parameters(ctx, device, found);
  double worst = 0;
  stroma::for_each_parameter(
      [&](std::string_view, const auto& f, const auto& h) {
        using T = typename std::remove_cvref_t<decltype(f)>::value_type;
        for (index_t i = 0; i < f.size(); ++i) {
          const double a = static_cast<double>(f.data()[i]), b = static_cast<double>(h.data()[i]);
          const double eps = static_cast<double>(std::numeric_limits<T>::epsilon());
          const double ratio = a == b ? 0 : std::abs(a - b) / (eps * (terms + 8) * std::max(1.0, std::abs(b)));
          worst = std::isnan(ratio) ? std::numeric_limits<double>::infinity() : std::max(worst, ratio);
        }
      },
      found, host);
  return worst;
}
/// An optimiser's steps on both sides: make(model) gives it. Gradients of changing size; some steps clear theirs.
template <class Device, class Host, class Make>
void check_optimiser(const Make& make, double terms_a_step) {
  stroma::cpu_context host_ctx;
  stroma::cuda_context ctx;
  Host host, host_gradient;
  Device device, gradient;
  fill_normal(host, 1);
  stroma::transfer_parameters(ctx, host, device);
  auto host_optimiser = make(host);
  auto optimiser = make(device);
  constexpr int steps = 6;
  for (int i = 0; i < steps; ++i) {
    fill_normal(host_gradient, static_cast<std::uint64_t>(2 + i), std::pow(10.0, i % 4 - 2));
    stroma::transfer_parameters(ctx, host_gradient, gradient);
    const double rate = i == 0 ? 0 : 0.01 * (1 + i % 3);
    if (i % 2 == 0) {
      host_optimiser.step(host_ctx, host, host_gradient, rate);
      optimiser.step(ctx, device, gradient, rate);
    } else {
      host_optimiser.step_and_clear(host_ctx, host, host_gradient, rate);
      optimiser.step_and_clear(ctx, device, gradient, rate);
    }
    CHECK(model_error(ctx, device, host, (i + 1) * terms_a_step) <= 1);
    CHECK(model_error(ctx, gradient, host_gradient, -8) == 0);
  }
  CHECK(optimiser.steps == steps);
}
/// 46 parameters with an element: two launches, and nothing waits or asks for memory.
template <class Make>
void check_optimiser_cost(const Make& make) {
  stroma::cuda_context ctx;
  device_model<float> model, gradient;
  auto optimiser = make(model);
  check_second_call([&] { optimiser.step(ctx, model, gradient, 0.1); }, 2);
  check_second_call([&] { optimiser.step_and_clear(ctx, model, gradient, 0.1); }, 2);
  auto other = gradient;
  other.last = stroma::array<float, 1, stroma::device_space>(7);
  CHECK_THROWS_AS(optimiser.step(ctx, model, other, 0.1), stroma::shape_error);
  CHECK_THROWS_AS(optimiser.step(ctx, model, gradient, -1), stroma::value_error);
}

}  // namespace stroma_test
