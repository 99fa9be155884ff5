#pragma once
#include <cstddef>
#include <filesystem>
#include <map>
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
class safetensors_reader : public tensor_reader {
 public:
  /// @throws format_error  `safetensors: FILE: tensor 'NAME': found, expected what`
  explicit safetensors_reader(const std::filesystem::path& path)
      : safetensors_reader(memory_map(path, "safetensors"), path.string()) {}
  /// A file that is in memory already: `bytes` must outlive the reader, `name` stands in messages.
  safetensors_reader(std::span<const std::byte> bytes, std::string name)
      : tensor_reader("safetensors", {}, std::move(name)) {
    parse(bytes);
  }

  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }

 private:
  safetensors_reader(memory_map map, std::string name) : tensor_reader("safetensors", std::move(map), std::move(name)) {
    parse(mapped());
  }
  void parse(std::span<const std::byte> bytes) {
    detail::safetensors_contents contents = detail::safetensors_parser(bytes, file()).parse();
    metadata_ = std::move(contents.metadata);
    take(std::move(contents));
  }

  std::map<std::string, std::string> metadata_;
};

}  // namespace stroma
