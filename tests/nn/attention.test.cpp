#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/nn/attention.hpp>

namespace {

template <class Layer>
std::vector<std::string> names(const Layer& layer) {
  std::vector<std::string> found;
  stroma::for_each_parameter([&](std::string_view name, const auto&) { found.emplace_back(name); }, layer);
  return found;
}

}  // namespace

TEST_CASE("attention: parameters have the names and extents of the published checkpoints") {
  const stroma::gated_attention<float> gated(512, 384, 2, 0.25);
  CHECK(names(gated) == std::vector<std::string>{"attention_a.0.weight", "attention_a.0.bias", "attention_b.0.weight",
                                                 "attention_b.0.bias", "attention_c.weight", "attention_c.bias"});
  CHECK(stroma::parameter_count(gated) == 2 * (512 * 384 + 384) + 2 * 384 + 2);
  CHECK(gated.score.weight.rows() == 2);
  CHECK(gated.dropout == 0.25);

  const stroma::plain_attention<float> plain(512, 384);
  CHECK(names(plain) ==
        std::vector<std::string>{"module.0.weight", "module.0.bias", "module.3.weight", "module.3.bias"});
  CHECK(stroma::parameter_count(plain) == 512 * 384 + 384 + 384 + 1);
}
