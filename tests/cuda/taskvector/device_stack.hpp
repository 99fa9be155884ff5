#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <stroma/nn/linear.cuh>
#include <stroma/taskvector/vector_stack.cuh>

#include "cuda/nn/device_cases.hpp"

/// What the tests of task vectors on a device share: layers of in weights and one bias.
namespace stroma_test {

template <class T>
using host_layer = stroma::linear_layer<T>;
template <class T>
using device_layer = stroma::linear_layer<T, stroma::backend::cuda>;
template <class T, class Storage = T>
using host_stack = stroma::vector_stack<T, stroma::backend::cpu, Storage>;
template <class T, class Storage = T>
using device_stack = stroma::vector_stack<T, stroma::backend::cuda, Storage>;

template <class T>
std::vector<host_layer<T>> layers(index_t count, index_t in, std::uint64_t seed = 1) {
  stroma::random_stream draw(seed);
  std::vector<host_layer<T>> made;
  for (index_t j = 0; j < count; ++j) {
    made.emplace_back(in, 1);
    stroma::for_each_parameter(
        [&](std::string_view, auto& p) {
          for (T& v : p) v = static_cast<T>(draw.normal());
        },
        made.back());
  }
  return made;
}
template <class T>
std::vector<device_layer<T>> on_device(stroma::cuda_context& ctx, const std::vector<host_layer<T>>& layers) {
  std::vector<device_layer<T>> copies;
  for (const auto& layer : layers) {
    copies.emplace_back(layer.weight.cols(), layer.weight.rows());
    stroma::transfer_parameters(ctx, layer, copies.back());
  }
  return copies;
}
/// Of models of which the first is the origin and the second the target.
template <class T, class Storage = T>
host_stack<T, Storage> stack_of(const std::vector<host_layer<T>>& models,
                                stroma::merge_base base = stroma::merge_base::origin) {
  return {models[0], std::span<const host_layer<T>>(models).subspan(2), models[1],
          [](std::string_view) { return true; }, base};
}

}  // namespace stroma_test
