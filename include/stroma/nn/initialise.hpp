#pragma once
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>

#include <stroma/core/members.hpp>
#include <stroma/core/random.hpp>
#include <stroma/nn/layer_norm.hpp>
#include <stroma/nn/linear.hpp>

namespace stroma {

/// From which distribution the weights of linear layers are drawn, all uniform on [-a, a):
enum class initialisation {
  torch_default,   ///< a = 1 / sqrt(in), for weight and bias: what torch.nn.Linear does
  xavier_uniform,  ///< a = sqrt(6 / (in + out)), bias 0: for tanh and sigmoid (Glorot and Bengio 2010)
  he_uniform       ///< a = sqrt(6 / in), bias 0: for relu (He et al. 2015)
};

struct initialise_options {
  initialisation scheme = initialisation::torch_default;
};

namespace detail {

template <class X>
inline constexpr bool is_linear_layer = false;
template <class T, class Backend>
inline constexpr bool is_linear_layer<linear_layer<T, Backend>> = true;
template <class X>
inline constexpr bool is_layer_norm_layer = false;
template <class T, class Backend>
inline constexpr bool is_layer_norm_layer<layer_norm_layer<T, Backend>> = true;

/// f(layer) for every linear and layer_norm layer in the order of the members.
template <class F, class X>
void walk_layers(F& f, X& x) {
  if constexpr (is_linear_layer<X> || is_layer_norm_layer<X>) {
    f(x);
  } else if constexpr (is_array<X>) {
    return;
  } else if constexpr (is_list<X>) {
    for (auto& part : x) walk_layers(f, part);
  } else if constexpr (is_optional<X>) {
    if (x.has_value()) walk_layers(f, *x);
  } else {
    std::apply([&](auto... part) { (walk_layers(f, part.value), ...); }, X::members(x));
  }
}

}  // namespace detail

/// Draws the parameters of every linear layer of a model and sets every layer norm to gain 1, bias 0. Other arrays stay
/// as they are.
///
/// Each layer has a random stream of its own, numbered by its place in the order of the members, weight before bias, so
/// that the same seed gives the same model on every platform, and a layer keeps its numbers when one before it is
/// resized. Cost: O(parameters).
template <class Model>
void initialise(Model& model, std::uint64_t seed, const initialise_options& options = {}) {
  std::uint32_t number = 0;
  auto draw = [&]<class Layer>(Layer& layer) {
    static_assert(std::same_as<typename decltype(layer.weight)::space, host_space>,
                  "initialise the model on the host, then copy it");
    using T = typename decltype(layer.weight)::value_type;
    if constexpr (detail::is_layer_norm_layer<Layer>) {
      layer.weight.fill(T(1));
      layer.bias.fill(T(0));
    } else {
      const auto in = static_cast<double>(layer.weight.cols()), out = static_cast<double>(layer.weight.rows());
      const bool torch = options.scheme == initialisation::torch_default;
      const double bound = torch                                              ? 1 / std::sqrt(in)
                           : options.scheme == initialisation::xavier_uniform ? std::sqrt(6 / (in + out))
                                                                              : std::sqrt(6 / in);
      random_stream stream(seed, 0, number++);
      for (T& w : layer.weight) w = static_cast<T>(stream.uniform(-bound, bound));
      if (in > 0 && torch)
        for (T& b : layer.bias) b = static_cast<T>(stream.uniform(-bound, bound));
      else layer.bias.fill(T(0));
    }
  };
  detail::walk_layers(draw, model);
}

}  // namespace stroma
