#pragma once
#include <cstddef>
#include <cstring>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include <stroma/backend/cuda/array.cuh>
#include <stroma/core/members.hpp>

#include "cuda/optim/device_model.hpp"
#include "support/cuda/check_cost.hpp"
#include "support/message_of.hpp"

/// What the tests of merging on a device share: models on both sides.
namespace stroma_test {

/// Matrices of one scalar and vectors of the other, in turn.
template <class Backend>
struct merged_model {
  using space = typename Backend::space;
  stroma::array<float, 2, space> weight{13, 7}, row{1, 33};
  stroma::array<double, 1, space> bias{13}, one{1}, none{0}, last{300};
  static auto members(auto& s) {
    using stroma::member;
    return std::tuple{member{"weight", s.weight}, member{"bias", s.bias}, member{"row", s.row},
                      member{"one", s.one},       member{"none", s.none}, member{"last", s.last}};
  }
};
using host_merged = merged_model<stroma::backend::cpu>;
using device_merged = merged_model<stroma::backend::cuda>;

template <class Model>
Model random_model(std::uint64_t seed, double scale = 1) {
  Model model;
  fill_normal(model, seed, scale);
  return model;
}
/// Models near a base.
inline std::vector<host_merged> tuned_from(const host_merged& base, int count, std::uint64_t seed = 100) {
  std::vector<host_merged> models;
  for (int t = 0; t < count; ++t) {
    models.push_back(random_model<host_merged>(seed + static_cast<std::uint64_t>(t), 0.1));
    stroma::for_each_parameter(
        [](std::string_view, auto& p, const auto& b) {
          for (index_t i = 0; i < p.size(); ++i) p[i] += b[i];
        },
        models.back(), base);
  }
  return models;
}

template <class Device, class Host>
Device copy_on_device(stroma::cuda_context& ctx, const Host& host) {
  Device device;
  stroma::transfer_parameters(ctx, host, device);
  return device;
}
template <class Device, class Host>
std::vector<Device> copies_on_device(stroma::cuda_context& ctx, const std::vector<Host>& host) {
  std::vector<Device> copies;
  for (const Host& model : host) copies.push_back(copy_on_device<Device>(ctx, model));
  return copies;
}

/// Whether a model on the device has the host's bits.
template <class Device, class Host>
bool same_model(stroma::cuda_context& ctx, const Device& device, const Host& host) {
  Host found = host;
  stroma::transfer_parameters(ctx, device, found);
  bool same = true;
  stroma::for_each_parameter(
      [&](std::string_view, const auto& f, const auto& h) {
        const std::size_t bytes = static_cast<std::size_t>(h.size()) * sizeof(*h.data());
        same = same && (bytes == 0 || std::memcmp(f.data(), h.data(), bytes) == 0);
      },
      found, host);
  return same;
}

}  // namespace stroma_test
