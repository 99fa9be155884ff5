#include <string>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>
#include <support/shared.hpp>

#include <stroma/io/safetensors.hpp>

#include "scratch.hpp"

using stroma::array;
using stroma::format_error;
using stroma::load_parameters;
using stroma::member;
using stroma::safetensors_reader;
using stroma::save_parameters;

namespace {

template <class T>
struct dense {
  array<T, 2> weight;
  array<T, 1> bias;
  dense(stroma::index_t out, stroma::index_t in) : weight(out, in), bias(out) {}
  static auto members(auto& s) { return std::tuple{member{"weight", s.weight}, member{"bias", s.bias}}; }
};

template <class T>
struct network {
  dense<T> first{16, 25}, a{12, 16}, b{12, 16}, c{1, 12}, head{4, 16};
  static auto members(auto& s) {
    return std::tuple{member{"feat_proj.0", s.first}, member{"attention_net.attention_a.0", s.a},
                      member{"attention_net.attention_b.0", s.b}, member{"attention_net.attention_c", s.c},
                      member{"pred_head", s.head}};
  }
};

}  // namespace

TEST_CASE("safetensors: a published checkpoint loads under its names, also in float") {
  const auto path = test_data("models/abmil_gated.safetensors");
  network<double> model;
  load_parameters(path, model, {.prefix = "param."});
  const safetensors_reader file(path);
  CHECK(model.head.weight(3, 15) == file.read<double>("param.pred_head.weight").matrix()(3, 15));
  CHECK(model.first.bias[7] == file.read<double>("param.feat_proj.0.bias").flat()[7]);
  network<float> single;
  load_parameters(file, single, {.prefix = "param."});
  CHECK(single.a.weight(2, 3) == static_cast<float>(model.a.weight(2, 3)));
  network<double> gradient;
  load_parameters(file, gradient, {.prefix = "grad.param."});
  CHECK(gradient.head.bias[0] == file.read<double>("grad.param.pred_head.bias").flat()[0]);
}

TEST_CASE_TEMPLATE("safetensors: save and load", T, double, float) {
  const scratch_folder folder;
  network<T> model, other;
  T next = 0;
  stroma::for_each_parameter(
      [&](std::string_view, auto& p) {
        for (auto& x : p) x = next += T(0.25);
      },
      model);
  save_parameters(folder / "m", model, {{"epoch", "7"}});
  CHECK(safetensors_reader(folder / "m").metadata().at("epoch") == "7");
  load_parameters(folder / "m", other);
  bool same = true;
  stroma::for_each_parameter(
      [&](std::string_view, const auto& x, const auto& y) {
        for (stroma::index_t i = 0; i < x.size(); ++i) same = same && x.data()[i] == y.data()[i];
      },
      model, other);
  CHECK(same);
}

TEST_CASE("safetensors: half weights widen") {
  const scratch_folder folder;
  array<stroma::half, 2> w(2, 3);
  w.fill(stroma::to_half(0.5f));
  array<stroma::bfloat16, 1> b(2);
  b.fill(stroma::to_bfloat16(-2));
  stroma::write_safetensors(folder / "m", {stroma::named_tensor("weight", w), stroma::named_tensor("bias", b)});
  dense<float> layer(2, 3);
  load_parameters(folder / "m", layer);
  CHECK(layer.weight(1, 2) == 0.5f);
  CHECK(layer.bias[1] == -2);
}

TEST_CASE("safetensors: a file that does not fit the model changes nothing in it") {
  const scratch_folder folder;
  const array<double, 2> weight(2, 3), wide(2, 4);
  const array<double, 1> bias(2), extra(1);
  using stroma::named_tensor;
  dense<double> layer(2, 3);
  layer.weight.fill(9);
  layer.bias.fill(9);
  const auto path = folder / "m";
  const auto refusal = [&](const stroma::load_options& options = {}) {
    return message_of<format_error>([&] { load_parameters(path, layer, options); });
  };
  stroma::write_safetensors(path, {named_tensor("weight", weight)});
  CHECK(contains(refusal(), "no tensor 'bias'"));
  stroma::write_safetensors(path,
                            {named_tensor("weight", weight), named_tensor("bias", bias), named_tensor("extra", extra)});
  CHECK(refusal() == "safetensors: " + path.string() +
                         ": tensor 'extra': no parameter of that name, expected parameters of the model alone");
  CHECK(layer.weight(0, 0) == 9);
  load_parameters(path, layer, {.extra = stroma::extra_tensors::ignore});
  CHECK(layer.weight(0, 0) == 0);
  layer.weight.fill(9);
  stroma::write_safetensors(path, {named_tensor("bias", bias), named_tensor("weight", wide)});
  CHECK(refusal() == "safetensors: " + path.string() + ": tensor 'weight': shape [2, 4], expected [2, 3]");
  stroma::write_safetensors(path, {named_tensor("bias", weight), named_tensor("weight", weight)});
  CHECK(refusal() == "safetensors: " + path.string() + ": tensor 'bias': shape [2, 3], expected [2]");
  CHECK(contains(refusal({.prefix = "model."}), "no tensor 'model.weight'"));
  CHECK(layer.weight(1, 2) == 9);
}
