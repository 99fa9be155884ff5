#pragma once
#include <concepts>
#include <set>
#include <string>
#include <string_view>

#include <stroma/core/members.hpp>
#include <stroma/core/tensor.hpp>
#include <stroma/io/file_error.hpp>
#include <stroma/io/tensor_reader.hpp>

namespace stroma {

/// What happens to tensors of a file that the model has no parameter for.
enum class extra_tensors { refuse, ignore };

struct load_options {
  std::string prefix = "";                      ///< stands before each parameter's name in the file, dot included
  extra_tensors extra = extra_tensors::refuse;  ///< looked for among the names that begin with the prefix
};

/// Fills all parameters of a model, whose shapes are those it was made with, from tensors of the same dotted names in
/// an open file of any format: `load_parameters(torch_checkpoint("steph.pth"), model, {.prefix = "model."})`. Float
/// types convert. Everything is checked first: when it throws the model is as it was.
/// @throws format_error  a parameter without tensor, another shape, a tensor without parameter (see `load_options`)
template <class Model>
void load_parameters(const tensor_reader& file, Model& model, const load_options& options = {}) {
  const auto in_file = [&](std::string_view name) { return options.prefix + std::string(name); };
  std::set<std::string> known;
  for_each_parameter(
      [&](std::string_view name, const auto& p) {
        static_assert(std::same_as<space_of<decltype(p)>, host_space>, "load_parameters: load on the host, then copy");
        file.check_fits(in_file(name), p);
        known.insert(in_file(name));
      },
      static_cast<const Model&>(model));
  if (options.extra == extra_tensors::refuse)
    for (const stored_tensor& t : file.tensors())
      if (t.name.starts_with(options.prefix) && !known.contains(t.name))
        detail::refuse_tensor(file.format(), file.file(), t.name, "no parameter of that name",
                              "parameters of the model alone");
  for_each_parameter([&](std::string_view name, auto& p) { file.copy_to(in_file(name), p); }, model);
}

}  // namespace stroma
