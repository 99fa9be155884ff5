#pragma once
#include <concepts>
#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>

#include <stroma/core/context.hpp>
#include <stroma/core/members.hpp>
#include <stroma/optim/parameter_update.hpp>

namespace stroma {

/// Along which direction a step with momentum goes: the velocity, or the velocity one step ahead (Nesterov).
enum class momentum_kind { classical, nesterov };

struct sgd_options {
  double momentum = 0;      ///< mu, from 0 to below 1
  double weight_decay = 0;  ///< wd, the L2 penalty's factor
  decay_on decay = decay_on::all;
  momentum_kind kind = momentum_kind::classical;
};

namespace detail {

template <class T>
struct sgd_factors {
  T learning_rate, momentum, decay;
  bool nesterov;
};

template <class Backend>
struct sgd_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/optim/sgd.cuh> and compile with nvcc");

  /// factors_of(parameter) gives its sgd_factors. State: the velocity, or none.
  template <class Factors, class Model, class Gradient, class... State>
  static void update(cpu_context& ctx, const Factors& factors_of, Model& model, Gradient& gradient, State&... state) {
    for_each_parameter([&](std::string_view, auto& p, auto& g,
                           auto&... v) { run(ctx, p.size(), p.data(), g.data(), v.data()..., factors_of(p)); },
                       model, gradient, state...);
  }

 private:
  /// One pass over a parameter and its velocity; a gradient of non-const elements becomes zero.
  template <class T, class G, int Lanes = native_lanes<T>>
  static void run(cpu_context& ctx, index_t count, T* parameter, G* gradient, T* velocity, const sgd_factors<T>& by) {
    using s = update_simd<T, Lanes>;
    const auto rate = s::set(-by.learning_rate), mu = s::set(by.momentum), decay = s::set(by.decay);
    update_elements<T, Lanes>(
        ctx, count,
        [=, nesterov = by.nesterov](auto& p, auto& g, auto& v) {
          const auto d = s::fma(decay, p, g);
          v = s::fma(mu, v, d);
          p = s::fma(rate, nesterov ? s::fma(mu, v, d) : v, p);
          g = s::set(T(0));
        },
        parameter, gradient, velocity);
  }
  /// The same without momentum.
  template <class T, class G, int Lanes = native_lanes<T>>
  static void run(cpu_context& ctx, index_t count, T* parameter, G* gradient, const sgd_factors<T>& by) {
    using s = update_simd<T, Lanes>;
    const auto rate = s::set(-by.learning_rate), decay = s::set(by.decay);
    update_elements<T, Lanes>(
        ctx, count,
        [=](auto& p, auto& g) {
          p = s::fma(rate, s::fma(decay, p, g), p);
          g = s::set(T(0));
        },
        parameter, gradient);
  }
};

}  // namespace detail

/// Stochastic gradient descent with momentum, as in PyTorch (no dampening):
///   v = mu v + (g + wd p),   p -= rate v,   or with Nesterov   p -= rate (g + wd p + mu v)
/// The state is an object of the model's own struct and is absent without momentum. Cost: one fused pass over the
/// parameters; nothing is allocated in a step. Results do not depend on the number of threads.
/// Reference: Sutskever et al. 2013.
template <class Model>
struct sgd {
  sgd_options options;
  std::optional<Model> velocity;
  std::int64_t steps = 0;  ///< taken so far

  /// @throws value_error  an option out of its range
  explicit sgd(const Model& model, const sgd_options& wanted = {}) : options(wanted) {
    check::require(wanted.momentum >= 0 && wanted.momentum < 1, "sgd", "options.momentum", number_text(wanted.momentum),
                   "0 to below 1");
    check::require(wanted.weight_decay >= 0, "sgd", "options.weight_decay", number_text(wanted.weight_decay),
                   "0 or more");
    check::require(wanted.momentum > 0 || wanted.kind == momentum_kind::classical, "sgd", "options.kind",
                   "nesterov without momentum", "a momentum above 0");
    if (wanted.momentum > 0) velocity.emplace(zeros_like(model));
  }
  static auto members(auto& self) { return std::tuple{member{"velocity", self.velocity}}; }
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
  template <class Context, class Gradient>
  void update(Context& ctx, Model& model, Gradient& gradient, double learning_rate) {
    using kernel = detail::sgd_kernel<typename Context::backend>;
    const auto factors_of = [&]<class Array>(const Array&) {
      using T = typename Array::value_type;
      return detail::sgd_factors<T>{static_cast<T>(learning_rate), static_cast<T>(options.momentum),
                                    static_cast<T>(detail::decay_of<Array>(options.weight_decay, options.decay)),
                                    options.kind == momentum_kind::nesterov};
    };
    if (velocity.has_value()) {
      detail::check_update("sgd::step", learning_rate, model, gradient, *velocity);
      kernel::update(ctx, factors_of, model, gradient, *velocity);
    } else {
      detail::check_update("sgd::step", learning_rate, model, gradient);
      kernel::update(ctx, factors_of, model, gradient);
    }
    ++steps;
  }
};

}  // namespace stroma
