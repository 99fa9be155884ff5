#pragma once
#include <cmath>
#include <type_traits>

#include <stroma/optim/parameter_update.cuh>
#include <stroma/optim/sgd.hpp>

namespace stroma::detail {

template <class T, bool Clears>
struct sgd_tensor {
  using scalar = T;
  T* parameter;
  std::conditional_t<Clears, T, const T>* gradient;
  T* velocity;  // null: no momentum
  sgd_factors<T> by;

  /// The host's operations in the host's order.
  __device__ void operator()(index_t i) const {
    const T d = std::fma(by.decay, parameter[i], gradient[i]);
    T along = d;
    if (velocity != nullptr) {
      const T v = std::fma(by.momentum, velocity[i], d);
      velocity[i] = v;
      along = by.nesterov ? std::fma(by.momentum, v, d) : v;
    }
    parameter[i] = std::fma(-by.learning_rate, along, parameter[i]);
    if constexpr (Clears) gradient[i] = T(0);
  }
};

template <>
struct sgd_kernel<backend::cuda> {
  template <class Factors, class Model, class Gradient, class... State>
  static void update(cuda_context& ctx, const Factors& factors_of, Model& model, Gradient& gradient, State&... state) {
    const auto update_all = [&]<class Tensor>(std::type_identity<Tensor>) {
      for_each_table<Tensor>(
          [&](auto& p, auto& g, auto&... v) {
            Tensor tensor{p.data(), g.data(), nullptr, factors_of(p)};
            ((tensor.velocity = v.data()), ...);
            return tensor;
          },
          [&](const auto& table) { update_tensors(ctx, table); }, model, gradient, state...);
    };
    constexpr bool clears = !std::is_const_v<Gradient>;
    update_all(std::type_identity<sgd_tensor<float, clears>>{});
    update_all(std::type_identity<sgd_tensor<double, clears>>{});
  }
};

}  // namespace stroma::detail
