// Models that others trained, for `stroma transfer`: safetensors, or PyTorch checkpoints with the names of the public
// ones. Those keep the parameters in a dict "model" beside the optimiser's state; the parameters' own names are ours.
#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include <stroma/io/load_parameters.hpp>
#include <stroma/io/torch_checkpoint.hpp>
#include <stroma/models/steph.hpp>

#include "transfer.hpp"

namespace program {
namespace {

/// f(open file) by the ending of its name.
template <class F>
void with_tensors(const std::filesystem::path& path, const F& f) {
  const auto ending = path.extension();
  if (ending == ".pth" || ending == ".pt") f(stroma::torch_checkpoint(path));
  else f(stroma::safetensors_reader(path));
}

/// What stands before the parameters' names: "model." in public checkpoints, nothing in a state dict alone.
std::string prefix_in(const stroma::tensor_reader& file) {
  constexpr std::string_view last = "pred_head.weight";
  for (const stroma::stored_tensor& t : file.tensors()) {
    const std::string_view name = t.name;
    if (!name.ends_with(last)) continue;
    const std::string_view prefix = name.substr(0, name.size() - last.size());
    if (prefix.empty() || prefix.ends_with('.')) return std::string(prefix);
  }
  return {};
}

/// A file that does not say what its model was tuned from must at least resemble theta_0: between weights that were
/// drawn apart the cosine is about 1 / sqrt(n), and training of a few hundred small steps does not bring it there.
void require_related(const stroma::tensor_reader& file, const encoder_model& model, const encoder_model& origin) {
  std::string largest;
  double cosine = 0, bound = 0;
  index_t size = 0;
  stroma::for_each_parameter(
      [&](std::string_view name, const auto& x, const auto& o) {
        if (!stroma::in_encoder(name) || x.size() <= size) return;
        size = x.size();
        largest = name;
        double product = 0, of_x = 0, of_o = 0;
        for (index_t i = 0; i < size; ++i) {
          const auto a = static_cast<double>(x.data()[i]), b = static_cast<double>(o.data()[i]);
          product += a * b, of_x += a * a, of_o += b * b;
        }
        cosine = product / std::sqrt(of_x * of_o);
        bound = std::min(0.5, 5 / std::sqrt(static_cast<double>(size)));
      },
      model, origin);
  if (!(cosine >= bound))
    stroma::detail::refuse_tensor("transfer", file.file(), prefix_in(file) + largest,
                                  "cosine " + stroma::number_text(cosine) + " with that of theta_0",
                                  stroma::number_text(bound) + " or more, of a model trained from theta_0");
}

}  // namespace

encoder_model read_origin(const std::filesystem::path& path, encoder_model model) {
  with_tensors(path, [&](const auto& file) { stroma::load_parameters(file, model, {.prefix = prefix_in(file)}); });
  return model;
}

encoder_model read_tuned(const std::filesystem::path& path, const base_model& origin) {
  encoder_model model = origin.model;
  with_tensors(path, [&](const auto& file) {
    stroma::load_parameters(file, model, {.prefix = prefix_in(file)});
    if constexpr (requires { file.metadata(); })
      if (file.metadata().contains("base")) return require_origin(file, origin.fingerprint);
    require_related(file, model, origin.model);
  });
  return model;
}

std::filesystem::path models_file(const std::string& pattern, const std::string& cohort, std::size_t fold) {
  std::string name = pattern;
  for (const auto& [key, value] : {std::pair{std::string("{cohort}"), cohort}, {"{fold}", std::to_string(fold)}})
    for (auto at = name.find(key); at != std::string::npos; at = name.find(key, at + value.size()))
      name.replace(at, key.size(), value);
  return name;
}

}  // namespace program
