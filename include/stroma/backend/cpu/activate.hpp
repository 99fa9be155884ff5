#pragma once
#include <cmath>
#include <numbers>

#include <stroma/backend/cpu/simd.hpp>
#include <stroma/backend/primitives.hpp>

#if STROMA_HOST_KERNELS

/// Activation functions on packets, and their derivatives.
namespace stroma::detail {

/// The normal distribution function, within 4e-7 absolute in float. Phi(-x) = erfc(t) / 2 with t = |x| / sqrt 2 and
/// erfc(t) = e^(-t t) P(u) / (1 + t), u = (t - 2.5) / (t + 2.5): P of degree 9 interpolates (1 + t) e^(t t) erfc(t)
/// on 0 <= t <= 10 at the Chebyshev points, relative error 9e-9.
template <class T, class Packet>
EIGEN_STRONG_INLINE Packet normal_distribution(const Packet& x) {
  using s = simd<T>;
  if constexpr (!std::is_same_v<T, float>) {
    return s::each(x, [](T v) { return T(0.5) * std::erfc(-v * std::numbers::sqrt2_v<T> / 2); });
  } else {
    constexpr std::array<T, 10> coefficients{0.7378222712F,    -0.2470467706F,  0.07634463111F,    0.01629881653F,
                                             -0.03152694706F,  0.01438121677F,  -0.0008290869243F, -0.001741771931F,
                                             0.0002962789735F, 0.0002156654483F};
    // From 16 on the result is 0 or 1; an infinite t would make u NaN.
    const Packet t = s::min(s::mul(s::abs(x), s::set(std::numbers::sqrt2_v<T> / 2)), s::set(16.0F));
    const Packet u = s::div(s::sub(t, s::set(2.5F)), s::add(t, s::set(2.5F)));
    Packet p = s::set(coefficients[9]);
    for (int k = 8; k >= 0; --k) p = s::fma(p, u, s::set(coefficients[static_cast<std::size_t>(k)]));
    const Packet tail =
        s::div(s::mul(s::mul(s::exp(s::negate(s::mul(t, t))), p), s::set(0.5F)), s::add(t, s::set(1.0F)));
    const Packet y = s::select(s::less(x, s::set(0.0F)), tail, s::sub(s::set(1.0F), tail));
    return s::select(s::equal(x, x), y, x);
  }
}

/// f(x)
template <class T, activation F, class Packet>
EIGEN_STRONG_INLINE Packet activated(const Packet& x) {
  using s = simd<T>;
  if constexpr (F == activation::identity) return x;
  else if constexpr (F == activation::relu) return s::max(x, s::set(T(0)));  // in this order NaN stays NaN
  else if constexpr (F == activation::tanh) return s::tanh(x);
  else if constexpr (F == activation::sigmoid) return s::sigmoid(x);
  else if constexpr (F == activation::gelu) return s::mul(x, normal_distribution<T>(x));
  else return s::select(s::less(x, s::set(T(0))), s::each(x, [](T v) { return std::expm1(v); }), x);
}

/// f'(x), given x and y = f(x); only gelu looks at x.
template <class T, activation F, class Packet>
EIGEN_STRONG_INLINE Packet derivative(const Packet& x, const Packet& y) {
  using s = simd<T>;
  const Packet one = s::set(T(1)), zero = s::set(T(0));
  if constexpr (F == activation::identity) return one;
  else if constexpr (F == activation::relu) return s::select(s::less(zero, y), one, zero);
  else if constexpr (F == activation::tanh) return s::sub(one, s::mul(y, y));
  else if constexpr (F == activation::sigmoid) return s::mul(y, s::sub(one, y));
  else if constexpr (F == activation::gelu) {
    const Packet density = s::mul(s::exp(s::mul(s::mul(x, x), s::set(T(-0.5)))), s::set(T(0.3989422804014327)));
    return s::fma(x, density, normal_distribution<T>(x));
  } else {
    return s::select(s::less(y, zero), s::add(y, one), one);
  }
}

// Function objects, because g++ 12 loses a constant template argument inside nested generic lambdas.
template <class T, activation F>
struct activate_by {
  template <class Packet>
  EIGEN_STRONG_INLINE Packet operator()(const Packet& x) const {
    return activated<T, F>(x);
  }
  template <class Packet>
  EIGEN_STRONG_INLINE Packet operator()(const Packet& x, const Packet& bias) const {
    return activated<T, F>(simd<T>::add(x, bias));
  }
};
template <class T, activation F>
struct derivative_of {
  template <class Packet>
  EIGEN_STRONG_INLINE Packet operator()(const Packet& x, const Packet& y) const {
    return derivative<T, F>(x, y);
  }
};

/// g(std::integral_constant<activation, f>), so that the choice is made once a row and not once an element.
template <class G>
void with_activation(activation f, G&& g) {
  switch (f) {
    case activation::identity:
      return g(std::integral_constant<activation, activation::identity>{});
    case activation::relu:
      return g(std::integral_constant<activation, activation::relu>{});
    case activation::tanh:
      return g(std::integral_constant<activation, activation::tanh>{});
    case activation::sigmoid:
      return g(std::integral_constant<activation, activation::sigmoid>{});
    case activation::gelu:
      return g(std::integral_constant<activation, activation::gelu>{});
    case activation::elu:
      return g(std::integral_constant<activation, activation::elu>{});
  }
}

/// c = f(c + bias), row by row; the bias may be empty.
template <class T>
void add_bias_and_activate(matrix_view<T> c, vector_view<const T> bias, activation f) {
  with_activation(f, [&](auto chosen) {
    constexpr activation F = decltype(chosen)::value;
    if (bias.size == 0 && F == activation::identity) return;
    for (index_t r = 0; r < c.rows; ++r) {
      T* row = c.data + r * c.row_stride;
      if (bias.size == 0) map_packets(c.cols, row, row, activate_by<T, F>{});
      else map_packets(c.cols, row, bias.data, row, activate_by<T, F>{});
    }
  });
}

}  // namespace stroma::detail

#endif
