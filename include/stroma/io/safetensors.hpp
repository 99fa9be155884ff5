#pragma once
#include <concepts>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <stroma/core/members.hpp>
#include <stroma/io/load_parameters.hpp>
#include <stroma/io/safetensors_reader.hpp>
#include <stroma/io/safetensors_writer.hpp>

namespace stroma {

/// Writes all parameters of a model under their dotted names, each with its own scalar type.
/// @throws value_error, format_error  as `write_safetensors`
template <class Model>
void save_parameters(const std::filesystem::path& path, const Model& model, const file_metadata& metadata = {}) {
  std::vector<tensor_source> tensors;
  for_each_parameter(
      [&](std::string_view name, const auto& p) {
        static_assert(std::same_as<space_of<decltype(p)>, host_space>,
                      "save_parameters: copy the model to the host first");
        tensors.push_back(named_tensor(std::string(name), p));
      },
      model);
  write_safetensors(path, tensors, metadata);
}

/// Fills all parameters of a model from a safetensors file; see `load_parameters` of an open one.
/// @throws format_error  as that, or the file is damaged
template <class Model>
void load_parameters(const std::filesystem::path& path, Model& model, const load_options& options = {}) {
  load_parameters(safetensors_reader(path), model, options);
}

}  // namespace stroma
