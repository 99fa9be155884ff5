#pragma once
#include <cmath>
#include <type_traits>

#include <stroma/optim/adam.hpp>
#include <stroma/optim/parameter_update.cuh>

namespace stroma::detail {

template <class T, decay_coupling Coupling, bool Clears>
struct adam_tensor {
  using scalar = T;
  T* parameter;
  std::conditional_t<Clears, T, const T>* gradient;
  T *first, *second;
  adam_factors<T> by;

  /// The host's operations in the host's order.
  __device__ void operator()(index_t i) const {
    T p = parameter[i], d = gradient[i];
    if constexpr (Coupling == decay_coupling::coupled) d = std::fma(by.decay, p, d);
    else p = by.decay * p;
    const T m = std::fma(by.fresh1, d - first[i], first[i]);
    const T v = std::fma(by.beta2, second[i], by.fresh2 * (d * d));
    first[i] = m;
    second[i] = v;
    parameter[i] = p - by.step * m / std::fma(by.correction2, std::sqrt(v), by.epsilon);
    if constexpr (Clears) gradient[i] = T(0);
  }
};

template <>
struct adam_kernel<backend::cuda> {
  template <decay_coupling Coupling, class Factors, class Model, class Gradient, class... State>
  static void update(cuda_context& ctx, const Factors& factors_of, Model& model, Gradient& gradient, State&... state) {
    const auto update_all = [&]<class Tensor>(std::type_identity<Tensor>) {
      for_each_table<Tensor>(
          [&](auto& p, auto& g, auto& m, auto& v) {
            return Tensor{p.data(), g.data(), m.data(), v.data(), factors_of(p)};
          },
          [&](const auto& table) { update_tensors(ctx, table); }, model, gradient, state...);
    };
    constexpr bool clears = !std::is_const_v<Gradient>;
    update_all(std::type_identity<adam_tensor<float, Coupling, clears>>{});
    update_all(std::type_identity<adam_tensor<double, Coupling, clears>>{});
  }
};

}  // namespace stroma::detail
