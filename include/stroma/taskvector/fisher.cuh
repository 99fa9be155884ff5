#pragma once
#include <stroma/optim/parameter_update.cuh>
#include <stroma/taskvector/fisher.hpp>
#include <stroma/taskvector/merge.cuh>

namespace stroma::detail {

template <class T>
struct information_tensor {
  using scalar = T;
  T* information;
  const T* gradient;
  double weight;
  __device__ void operator()(index_t i) const {
    const auto x = static_cast<double>(gradient[i]);
    information[i] = static_cast<T>(static_cast<double>(information[i]) + weight * x * x);
  }
};

template <>
struct information_kernel<backend::cuda> {
  template <class Model>
  static void add(cuda_context& ctx, double weight, const Model& gradient, Model& information) {
    const auto add_all = [&]<class T>(T) {
      for_each_table<information_tensor<T>>(
          [&](auto& f, const auto& g) {
            return information_tensor<T>{f.data(), g.data(), weight};
          },
          [&](const auto& table) { update_tensors(ctx, table); }, information, gradient);
    };
    add_all(0.0f);
    add_all(0.0);
  }
};

}  // namespace stroma::detail
