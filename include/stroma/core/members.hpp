#pragma once
#include <array>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <stroma/core/array.hpp>
#include <stroma/core/error.hpp>

namespace stroma {

/// A named part of a layer or model: a parameter (array), another layer, or a std::vector of layers.
/// The empty name adds no level: its parts appear under the parent's name.
template <class X>
struct member {
  std::string_view name;
  X& value;
  constexpr member(std::string_view n, X& v) : name(n), value(v) {}
};

namespace detail {

template <class X>
inline constexpr bool is_array = false;
template <class T, int Rank, class Space>
inline constexpr bool is_array<array<T, Rank, Space>> = true;
template <class X>
inline constexpr bool is_list = false;
template <class X, class A>
inline constexpr bool is_list<std::vector<X, A>> = true;
template <class X>
inline constexpr bool is_optional = false;
template <class X>
inline constexpr bool is_optional<std::optional<X>> = true;

/// A dotted name in a fixed buffer: optimisers walk the parameters in every step and must not allocate.
class dotted_name {
 public:
  /// Extends the name for as long as it lives.
  class level {
   public:
    level(dotted_name& name, std::string_view part) : name_(name), length_(name.length_) { name.append(part); }
    level(dotted_name& name, std::size_t index) : name_(name), length_(name.length_) {
      std::array<char, 20> digits{};
      const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), index).ptr;
      name.append({digits.data(), static_cast<std::size_t>(end - digits.data())});
    }
    level(const level&) = delete;
    level& operator=(const level&) = delete;
    ~level() { name_.length_ = length_; }

   private:
    dotted_name& name_;
    std::size_t length_;
  };

  [[nodiscard]] std::string_view view() const { return {text_.data(), length_}; }

 private:
  void append(std::string_view part) {
    if (part.empty()) return;
    if (length_ + part.size() + 1 > text_.size())
      throw shape_error(
          error_message("for_each_parameter", view(), "a longer name", "dotted names of up to 255 characters"));
    if (length_ > 0) text_[length_++] = '.';
    length_ += part.copy(text_.data() + length_, part.size());
  }
  std::array<char, 256> text_{};
  std::size_t length_ = 0;
};

template <class F, class First, class... Rest>
void walk(dotted_name& path, F& f, First& first, Rest&... rest) {
  using type = std::remove_const_t<First>;
  if constexpr (is_array<type>) {
    f(path.view(), first, rest...);
  } else if constexpr (is_list<type>) {
    if (((rest.size() != first.size()) || ...))
      throw shape_error(error_message("for_each_parameter", path.view(), "lists of different length",
                                      std::to_string(first.size()) + " parts in each"));
    for (std::size_t i = 0; i < first.size(); ++i) {
      const dotted_name::level level(path, i);
      walk(path, f, first[i], rest[i]...);
    }
  } else if constexpr (is_optional<type>) {
    if (((rest.has_value() != first.has_value()) || ...))
      throw shape_error(error_message("for_each_parameter", path.view(), "present in one object and absent in another",
                                      "the same parts in each"));
    if (first.has_value()) walk(path, f, *first, *rest...);
  } else {
    auto parts = type::members(first);
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      [[maybe_unused]] const auto visit = [&]<std::size_t K>(std::integral_constant<std::size_t, K>) {
        const dotted_name::level level(path, std::get<K>(parts).name);
        walk(path, f, std::get<K>(parts).value, std::get<K>(type::members(rest)).value...);
      };
      (visit(std::integral_constant<std::size_t, I>{}), ...);
    }(std::make_index_sequence<std::tuple_size_v<decltype(parts)>>{});
  }
}

}  // namespace detail

/// Walks objects of one struct in step: f(dotted name, tensor of first, tensor of each other ...), in the order of
/// `members`. Gradients, optimiser state and task vectors are objects of the model's own struct, so this is the only
/// loop over parameters that there is.
/// @throws shape_error  lists of layers of different length
template <class F, class First, class... Rest>
  requires(std::is_same_v<std::remove_const_t<First>, std::remove_const_t<Rest>> && ...)
void for_each_parameter(F&& f, First& first, Rest&... rest) {
  detail::dotted_name path;
  detail::walk(path, f, first, rest...);
}

/// The number of scalars in all parameters.
template <class Model>
[[nodiscard]] index_t parameter_count(const Model& model) {
  index_t sum = 0;
  for_each_parameter([&](std::string_view, const auto& p) { sum += p.size(); }, model);
  return sum;
}

/// Sets every parameter to zero: gradients between steps.
template <class Model>
void set_zero(Model& model) {
  for_each_parameter([](std::string_view, auto& p) { p.fill(0); }, model);
}

/// An object of the same struct and extents, all zero: a gradient, a moment, an empty task vector.
template <class Model>
[[nodiscard]] Model zeros_like(const Model& model) {
  Model zero = model;
  set_zero(zero);
  return zero;
}

}  // namespace stroma
