#pragma once
#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include <stroma/backend/cuda/array.cuh>
#include <stroma/taskvector/merge.hpp>

namespace stroma::detail {

/// Models on a device, shown to the rule tensor by tensor in scratch of the host. The results stay there until all are
/// made, so that whatever a rule throws leaves `out` as it was. Memory, for the time of one merge: the largest tensor
/// times the models, and one model. Why not on the device: docs/decisions/011-merging-on-the-host.md.
template <>
class merge_stage<backend::cuda> {
 public:
  explicit merge_stage(cuda_context& ctx) : ctx_(ctx) {}
  [[nodiscard]] cpu_context& host() { return host_; }

  template <class T, class F>
  void read(const tensor_slices<T>& s, F&& f) {
    auto scratch = host_.workspace().open();
    const auto fetch = [&](const T* from) {
      T* const to = scratch.template take<T>(s.size());
      transfer(ctx_, vector_view<const T, device_space>(from, s.size()), vector_view<T>(to, s.size()));
      return static_cast<const T*>(to);
    };
    const auto fetch_all = [&](std::span<const T* const> from) {
      const T** const to = scratch.template take<const T*>(static_cast<index_t>(from.size()));
      std::transform(from.begin(), from.end(), to, fetch);
      return std::span<const T* const>(to, from.size());
    };
    tensor_slices<T> here = s;
    if (s.base != nullptr) here.base = fetch(s.base);
    here.models = fetch_all(s.models);
    here.importance = fetch_all(s.importance);
    f(static_cast<const tensor_slices<T>&>(here));
  }
  template <class T, class F>
  void write(const tensor_slices<T>& s, T*, F&& f) {
    T* const result = result_frame_.template take<T>(s.size());
    results_.push_back(result);
    read(s, [&](const tensor_slices<T>& here) { f(here, result); });
  }
  template <class Model>
  void finish(Model& out) {
    auto next = results_.begin();
    for_each_parameter(
        [&]<class Array>(std::string_view, Array& o) {
          using T = typename Array::value_type;
          transfer(ctx_, vector_view<const T>(static_cast<const T*>(*next++), o.size()),
                   vector_view<T, device_space>(o.data(), o.size()));
        },
        out);
  }

 private:
  cuda_context& ctx_;
  cpu_context host_;
  workspace result_memory_;
  workspace::frame result_frame_{result_memory_};
  std::vector<const void*> results_;
};

}  // namespace stroma::detail
