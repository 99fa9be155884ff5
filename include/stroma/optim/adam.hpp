#pragma once
#include <cmath>
#include <concepts>
#include <cstdint>
#include <string_view>
#include <tuple>

#include <stroma/core/context.hpp>
#include <stroma/core/members.hpp>
#include <stroma/optim/parameter_update.hpp>

namespace stroma {

struct adam_options {
  double beta1 = 0.9, beta2 = 0.999;  ///< of the first and second moment, from 0 to below 1
  double epsilon = 1e-8;              ///< added to the root of the second moment, above 0
  double weight_decay = 0;            ///< wd: an L2 penalty's factor in adam, decoupled in adamw
  decay_on decay = decay_on::all;
};

namespace detail {

/// How weight decay enters: as part of the gradient, or beside it.
enum class decay_coupling { coupled, decoupled };

template <class T>
struct adam_factors {
  T fresh1;         ///< 1 - beta1
  T beta2, fresh2;  ///< beta2, 1 - beta2
  T correction2;    ///< 1 / sqrt(1 - beta2^t)
  T epsilon;
  T step;   ///< rate / (1 - beta1^t)
  T decay;  ///< coupled: wd, decoupled: 1 - rate wd
};

template <class Backend>
struct adam_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/optim/adam.cuh> and compile with nvcc");

  /// factors_of(parameter) gives its adam_factors. State: the two moments.
  template <decay_coupling Coupling, class Factors, class Model, class Gradient, class... State>
  static void update(cpu_context& ctx, const Factors& factors_of, Model& model, Gradient& gradient, State&... state) {
    for_each_parameter(
        [&](std::string_view, auto& p, auto& g, auto& m, auto& v) {
          run<Coupling>(ctx, p.size(), p.data(), g.data(), m.data(), v.data(), factors_of(p));
        },
        model, gradient, state...);
  }

 private:
  /// One pass over a parameter and its moments; a gradient of non-const elements becomes zero.
  template <decay_coupling Coupling, class T, class G, int Lanes = native_lanes<T>>
  static void run(cpu_context& ctx, index_t count, T* parameter, G* gradient, T* first, T* second,
                  const adam_factors<T>& by) {
    using s = update_simd<T, Lanes>;
    const auto fresh1 = s::set(by.fresh1), beta2 = s::set(by.beta2), fresh2 = s::set(by.fresh2),
               epsilon = s::set(by.epsilon);
    const auto correction2 = s::set(by.correction2), step = s::set(by.step), decay = s::set(by.decay);
    update_elements<T, Lanes>(
        ctx, count,
        [=](auto& p, auto& g, auto& m, auto& v) {
          auto d = g;
          if constexpr (Coupling == decay_coupling::coupled) d = s::fma(decay, p, g);
          else p = s::mul(decay, p);
          m = s::fma(fresh1, s::sub(d, m), m);
          v = s::fma(beta2, v, s::mul(fresh2, s::mul(d, d)));
          const auto root = s::fma(correction2, s::sqrt(v), epsilon);
          p = s::sub(p, s::div(s::mul(step, m), root));
          g = s::set(T(0));
        },
        parameter, gradient, first, second);
  }
};

/// What adam and adamw share. The moments are objects of the model's own struct.
template <class Model, decay_coupling Coupling>
struct adaptive_moments {
  adam_options options;
  Model first, second;
  std::int64_t steps = 0;  ///< taken so far

  /// @throws value_error  an option out of its range
  explicit adaptive_moments(const Model& model, const adam_options& wanted = {})
      : options(wanted), first(zeros_like(model)), second(first) {
    const auto require = [](bool holds, std::string_view name, double value, std::string_view expected) {
      check::require(holds, "adam", name, number_text(static_cast<double>(value)), expected);
    };
    require(wanted.beta1 >= 0 && wanted.beta1 < 1, "options.beta1", wanted.beta1, "0 to below 1");
    require(wanted.beta2 >= 0 && wanted.beta2 < 1, "options.beta2", wanted.beta2, "0 to below 1");
    require(wanted.epsilon > 0, "options.epsilon", wanted.epsilon, "a number above 0");
    require(wanted.weight_decay >= 0, "options.weight_decay", wanted.weight_decay, "0 or more");
  }
  static auto members(auto& self) { return std::tuple{member{"first", self.first}, member{"second", self.second}}; }
  static auto numbers(auto& self) { return std::tuple{member{"steps", self.steps}}; }

  /// One step along a gradient of the model's struct.
  /// @throws shape_error, value_error  and nothing is changed
  template <execution_context Context>
  void step(Context& ctx, Model& model, const Model& gradient, double learning_rate) {
    update(ctx, model, gradient, learning_rate);
  }
  /// The same, and the gradient becomes zero in the same pass.
  template <execution_context Context>
  void step_and_clear(Context& ctx, Model& model, Model& gradient, double learning_rate) {
    update(ctx, model, gradient, learning_rate);
  }

 private:
  template <class Array>
  [[nodiscard]] auto factors_of(const Array&, double learning_rate) const {
    using T = typename Array::value_type;
    const auto t = static_cast<double>(steps);
    const double decay = decay_of<Array>(options.weight_decay, options.decay);
    return adam_factors<T>{
        .fresh1 = static_cast<T>(1 - options.beta1),
        .beta2 = static_cast<T>(options.beta2),
        .fresh2 = static_cast<T>(1 - options.beta2),
        .correction2 = static_cast<T>(1 / std::sqrt(1 - std::pow(options.beta2, t))),
        .epsilon = static_cast<T>(options.epsilon),
        .step = static_cast<T>(learning_rate / (1 - std::pow(options.beta1, t))),
        .decay = static_cast<T>(Coupling == decay_coupling::coupled ? decay : 1 - learning_rate * decay)};
  }
  template <class Context, class Gradient>
  void update(Context& ctx, Model& model, Gradient& gradient, double learning_rate) {
    check_update("adam::step", learning_rate, model, gradient, first, second);
    ++steps;
    adam_kernel<typename Context::backend>::template update<Coupling>(
        ctx, [&](const auto& p) { return factors_of(p, learning_rate); }, model, gradient, first, second);
  }
};

}  // namespace detail

/// Adam with an L2 penalty, as PyTorch's Adam:
///   d = g + wd p,   m = beta1 m + (1 - beta1) d,   v = beta2 v + (1 - beta2) d^2,
///   p -= rate / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
/// Cost: one fused pass over the parameters, on a device one launch for 32 of them; nothing is allocated in a step.
/// Results do not depend on the number of threads. Fields and functions: detail::adaptive_moments.
/// Reference: Kingma and Ba, ICLR 2015.
template <class Model>
struct adam : detail::adaptive_moments<Model, detail::decay_coupling::coupled> {
  using detail::adaptive_moments<Model, detail::decay_coupling::coupled>::adaptive_moments;
};
template <class Model>
explicit adam(const Model&, const adam_options& = {}) -> adam<Model>;

/// Adam with decoupled weight decay, as PyTorch's AdamW: p = (1 - rate wd) p, then Adam's step with d = g.
/// Reference: Loshchilov and Hutter, ICLR 2019.
template <class Model>
struct adamw : detail::adaptive_moments<Model, detail::decay_coupling::decoupled> {
  using detail::adaptive_moments<Model, detail::decay_coupling::decoupled>::adaptive_moments;
};
template <class Model>
explicit adamw(const Model&, const adam_options& = {}) -> adamw<Model>;

}  // namespace stroma
