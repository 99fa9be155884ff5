#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <stroma/core/context.hpp>
#include <stroma/core/error.hpp>
#include <stroma/core/members.hpp>
#include <stroma/optim/parameter_update.hpp>

namespace stroma::detail {

template <class Model>
[[nodiscard]] index_t tensor_count(const Model& model) {
  index_t tensors = 0;
  for_each_parameter([&](std::string_view, const auto&) { ++tensors; }, model);
  return tensors;
}

/// Asked before anything is written. @throws shape_error  names function, argument and tensor
template <class Model>
void check_same_extents(std::string_view function, std::string_view argument, const Model& found,
                        const Model& expected) {
  for_each_parameter(
      [&](std::string_view name, const auto& e, const auto& a) {
        if (a.extents() != e.extents())
          throw shape_error(
              error_message(function, argument, std::string(name) + " of " + extents_text(a), extents_text(e)));
      },
      expected, found);
}

/// Walks any number of objects of one struct in step, with others whose number is fixed:
/// f(name, where the tensor of each model begins, tensor of first, tensor of each other ...).
/// All extents are checked against those of `first` before f is called. f may use the workspace.
template <class Context, class Model, class F, class First, class... Rest>
void for_each_tensor(Context& ctx, std::string_view function, std::string_view argument, std::span<const Model> models,
                     F&& f, First& first, Rest&... rest) {
  const index_t tensors = tensor_count(first);
  const auto count = static_cast<index_t>(models.size());
  for (std::size_t t = 0; t < models.size(); ++t)
    check_same_extents(function, std::string(argument) + "[" + std::to_string(t) + "]", models[t],
                       static_cast<const Model&>(first));
  auto scratch = ctx.host_workspace().open();
  const void** const begin = scratch.template take<const void*>(tensors * count);  // [tensors][models]
  for (index_t t = 0; t < count; ++t) {
    const void** at = begin + t;
    for_each_parameter(
        [&](std::string_view, const auto& p) {
          *at = p.data();
          at += count;
        },
        models[static_cast<std::size_t>(t)]);
  }
  const void** at = begin;
  for_each_parameter(
      [&](std::string_view name, auto& p, auto&... others) {
        using T = typename std::remove_cvref_t<decltype(p)>::value_type;
        auto inner = ctx.host_workspace().open();
        const T** const typed = inner.template take<const T*>(count);
        for (index_t t = 0; t < count; ++t) typed[t] = static_cast<const T*>(at[t]);
        at += count;
        f(name, std::span<const T* const>(typed, models.size()), p, others...);
      },
      first, rest...);
}

}  // namespace stroma::detail
