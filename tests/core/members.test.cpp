#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/core/members.hpp>

#include "../support/counting_allocator.hpp"

using stroma::array;
using stroma::index_t;
using stroma::member;

namespace {

struct dense {
  array<float, 2> weight;
  std::optional<array<float, 1>> bias;
  static auto members(auto& s) { return std::tuple{member{"weight", s.weight}, member{"bias", s.bias}}; }
};

struct trunk {
  dense gate;
  static auto members(auto& s) { return std::tuple{member{"gate", s.gate}}; }
};

struct model {
  std::vector<dense> blocks;
  std::optional<dense> extra;
  trunk shared;
  array<float, 1> scale{2};
  static auto members(auto& s) {
    return std::tuple{member{"net.blocks", s.blocks}, member{"extra", s.extra}, member{"", s.shared},
                      member{"scale", s.scale}};
  }
};

struct nothing {
  static auto members(auto&) { return std::tuple{}; }
};

dense make_dense(index_t rows, index_t cols, bool with_bias) {
  dense d{array<float, 2>(rows, cols), std::nullopt};
  if (with_bias) d.bias.emplace(rows);
  return d;
}

model make_model() {
  model m;
  m.blocks.push_back(make_dense(2, 3, true));
  m.blocks.push_back(make_dense(3, 2, false));
  m.shared.gate = make_dense(1, 4, true);
  return m;
}

template <class Model>
std::vector<std::string> names(const Model& m) {
  std::vector<std::string> all;
  stroma::for_each_parameter([&](std::string_view name, const auto&) { all.emplace_back(name); }, m);
  return all;
}

}  // namespace

TEST_CASE("members: dotted names in order; lists count, absent parts are left out, empty names add no level") {
  CHECK(names(make_model()) == std::vector<std::string>{"net.blocks.0.weight", "net.blocks.0.bias",
                                                        "net.blocks.1.weight", "gate.weight", "gate.bias", "scale"});
  auto m = make_model();
  m.extra = make_dense(1, 1, false);
  CHECK(names(m)[3] == "extra.weight");
  CHECK(names(nothing{}).empty());
  CHECK(names(array<float, 1>(3)) == std::vector<std::string>{""});
  m.blocks.assign(12, make_dense(1, 1, false));
  CHECK(names(m)[11] == "net.blocks.11.weight");
}

TEST_CASE("members: objects of one struct are walked in step, each as const as it is") {
  auto a = make_model();
  const auto b = [] {
    auto m = make_model();
    float next = 1;
    stroma::for_each_parameter(
        [&](std::string_view, auto& p) {
          for (auto& x : p) x = next++;
        },
        m);
    return m;
  }();
  auto c = make_model();
  stroma::for_each_parameter(
      [](std::string_view, auto& x, const auto& y, auto& z) {
        static_assert(std::is_const_v<std::remove_reference_t<decltype(y)>>);
        static_assert(!std::is_const_v<std::remove_reference_t<decltype(z)>>);
        for (index_t i = 0; i < x.size(); ++i) {
          x[i] = 2 * y[i];
          z[i] = -y[i];
        }
      },
      a, b, c);
  CHECK(a.blocks[0].weight(0, 0) == 2);
  CHECK(a.scale[1] == 2 * static_cast<float>(stroma::parameter_count(b)));
  CHECK(c.scale[1] == -static_cast<float>(stroma::parameter_count(b)));
}

TEST_CASE("members: count, zero and zeros like") {
  auto m = make_model();
  CHECK(stroma::parameter_count(m) == 6 + 2 + 6 + 4 + 1 + 2);
  CHECK(stroma::parameter_count(nothing{}) == 0);
  stroma::for_each_parameter([](std::string_view, auto& p) { p.fill(3); }, m);
  const auto zero = stroma::zeros_like(m);
  CHECK(m.blocks[0].weight(1, 2) == 3);
  CHECK(names(zero) == names(m));
  index_t nonzero = 0;
  const auto count = [&](std::string_view, const auto& p) {
    for (const auto x : p) nonzero += x != 0;
  };
  stroma::for_each_parameter(count, zero);
  CHECK(nonzero == 0);
  stroma::set_zero(m);
  stroma::for_each_parameter(count, m);
  CHECK(nonzero == 0);
}

TEST_CASE("members: objects whose parts differ are refused") {
  const auto ignore = [](std::string_view, const auto&, const auto&) {};
  const auto a = make_model();
  auto b = a;
  b.blocks.pop_back();
  CHECK_THROWS_WITH_AS(stroma::for_each_parameter(ignore, a, b),
                       "for_each_parameter: net.blocks: lists of different length, expected 2 parts in each",
                       stroma::shape_error);
  auto c = a;
  c.shared.gate.bias.reset();
  CHECK_THROWS_WITH_AS(stroma::for_each_parameter(ignore, a, c),
                       "for_each_parameter: gate.bias: present in one object and absent in another, expected the same "
                       "parts in each",
                       stroma::shape_error);
  CHECK_THROWS_AS(stroma::for_each_parameter(ignore, c, a), stroma::shape_error);
}

TEST_CASE("members: a walk takes no memory") {
  auto a = make_model();
  const auto b = make_model();
  index_t characters = 0;
  CHECK(allocations_in([&] {
          stroma::for_each_parameter(
              [&](std::string_view name, auto& x, const auto& y) {
                characters += static_cast<index_t>(name.size());
                x[0] += y[0];
              },
              a, b);
          stroma::set_zero(a);
          characters += stroma::parameter_count(a);
        }) == 0);
  CHECK(characters > 0);
}

namespace {

struct long_name {
  array<float, 1> x{1};
  static inline std::string name;
  static auto members(auto& s) { return std::tuple{member{name, s.x}}; }
};

}  // namespace

TEST_CASE("members: a name that is too long is refused") {
  long_name::name.assign(255, 'a');
  CHECK(names(long_name{})[0].size() == 255);
  long_name::name.assign(300, 'a');
  CHECK_THROWS_WITH_AS(names(long_name{}),
                       "for_each_parameter: : a longer name, expected dotted names of up to 255 characters",
                       stroma::shape_error);
}
