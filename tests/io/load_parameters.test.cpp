#include <string>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/io/load_parameters.hpp>

#include "memory_file.hpp"
#include "scratch.hpp"

using stroma::array;
using stroma::extra_tensors;
using stroma::format_error;
using stroma::load_parameters;
using stroma::member;

namespace {

template <class T>
struct layer {
  array<T, 2> weight{2, 3};
  array<T, 1> bias{2};
  static auto members(auto& s) { return std::tuple{member{"weight", s.weight}, member{"bias", s.bias}}; }
};

const std::vector<double> columns{1, 4, 2, 5, 3, 6}, pair{7, 8};
const std::vector<stroma::half> narrow{stroma::to_half(0.5F), stroma::to_half(-2)};

}  // namespace

TEST_CASE_TEMPLATE("load_parameters: parameters of one prefix, of any type and strides", T, double, float) {
  const memory_file file({tensor_of("model.weight", columns, {2, 3}, {1, 2}), tensor_of("model.bias", narrow, {2}),
                          tensor_of("optimizer.bias", pair, {2})});
  layer<T> model;
  load_parameters(file, model, {.prefix = "model."});
  for (stroma::index_t i = 0; i < 6; ++i) CHECK(model.weight.data()[i] == static_cast<T>(i + 1));
  CHECK(model.bias[0] == T(0.5));
  CHECK(model.bias[1] == T(-2));
}

TEST_CASE("load_parameters: what does not fit is named and nothing is written") {
  layer<double> model;
  model.weight.fill(9);
  const auto refusal = [&](const memory_file& file, const stroma::load_options& options = {}) {
    const std::string message = message_of<format_error>([&] { load_parameters(file, model, options); });
    for (const double w : model.weight) CHECK(w == 9);
    return message;
  };
  const auto weight = tensor_of("weight", columns, {2, 3}), bias = tensor_of("bias", pair, {2});
  CHECK(refusal(memory_file({weight})) == "memory: f: no tensor 'bias', expected one among the 1");
  CHECK(refusal(memory_file({weight, tensor_of("bias", pair, {2, 1})})) ==
        "memory: f: tensor 'bias': shape [2, 1], expected [2]");
  const memory_file more({weight, bias, tensor_of("more", pair, {2})});
  CHECK(refusal(more) == "memory: f: tensor 'more': no parameter of that name, expected parameters of the model alone");
  CHECK(refusal(more, {.prefix = "model."}) == "memory: f: no tensor 'model.weight', expected one among the 3");
  load_parameters(more, model, {.extra = extra_tensors::ignore});
  CHECK(model.weight(1, 2) == 6);
  CHECK(model.bias[1] == 8);
}
