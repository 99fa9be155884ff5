#pragma once
#include <cstddef>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>

#include <stroma/io/memory_map.hpp>
#include <stroma/io/safetensors_header.hpp>
#include <stroma/io/tensor_reader.hpp>

namespace stroma {

/// A safetensors file: an 8-byte length, a JSON header, the elements. The constructor maps the file and checks all of
/// the header against the file's size: types, shapes, offsets, names, and that the tensors cover the data once, without
/// overlap or hole. Header fields that the format does not know are refused. Nothing else is read until it is asked
/// for. Cost: the header's length, O(n log n) in the number of tensors; memory in proportion to the header, not to the
/// data.
///
/// A model in several files is opened by its index, a JSON file `NAME.index.json` whose `weight_map` says in which file
/// beside it a tensor lies; metadata are those of the first such file, by name.
class safetensors_reader : public tensor_reader {
 public:
  /// @throws format_error  `safetensors: FILE: tensor 'NAME': found, expected what`
  explicit safetensors_reader(const std::filesystem::path& path)
      : tensor_reader("safetensors", memory_map(path, "safetensors"), path.string()) {
    if (path.filename().string().ends_with(".index.json")) parse_index(path.parent_path());
    else parse(mapped());
  }
  /// A file that is in memory already: `bytes` must outlive the reader, `name` stands in messages.
  safetensors_reader(std::span<const std::byte> bytes, std::string name)
      : tensor_reader("safetensors", {}, std::move(name)) {
    parse(bytes);
  }

  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }

 private:
  void parse(std::span<const std::byte> bytes) {
    detail::safetensors_contents contents = detail::safetensors_parser(bytes, file()).parse();
    metadata_ = std::move(contents.metadata);
    take(std::move(contents));
  }
  void parse_index(const std::filesystem::path& folder) {
    const auto file_of =
        detail::read_safetensors_index({reinterpret_cast<const char*>(mapped().data()), mapped().size()}, file());
    std::set<std::string> names;
    for (const auto& [tensor, name] : file_of) names.insert(name);
    detail::named_tensors all;
    for (const std::string& name : names) {
      const std::string path = (folder / name).string();
      detail::safetensors_contents part = detail::safetensors_parser(map_part(path), path).parse();
      if (name == *names.begin()) metadata_ = std::move(part.metadata);
      for (stored_tensor& t : part.tensors) {
        const auto said = file_of.find(t.name);
        if (said == file_of.end() || said->second != name)
          detail::refuse_tensor(path, t.name, said == file_of.end() ? "not in " + file() : "in " + said->second,
                                "the tensors that the index has in this file");
        all.tensors.push_back(std::move(t));
      }
    }
    all.sort_names("safetensors", file());
    for (const auto& [tensor, name] : file_of)
      if (all.find(tensor) == nullptr)
        detail::refuse_tensor(file(), tensor, "nothing of that name in " + name, "the tensors of the index");
    take(std::move(all));
  }

  std::map<std::string, std::string> metadata_;
};

}  // namespace stroma
