#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stroma/io/detail/named_tensors.hpp>
#include <stroma/io/file_error.hpp>
#include <stroma/io/json_header.hpp>
#include <stroma/io/tensor_type.hpp>

namespace stroma::detail {

[[noreturn]] inline void refuse_tensor(const std::string& file, std::string_view name, std::string_view found,
                                       std::string_view expected) {
  refuse_tensor("safetensors", file, name, found, expected);
}

struct safetensors_contents : named_tensors {
  std::map<std::string, std::string> metadata;
};

/// The `weight_map` of an index: the file of each tensor. Files are named without a folder.
[[nodiscard]] inline std::map<std::string, std::string> read_safetensors_index(std::string_view text,
                                                                               const std::string& file) {
  std::map<std::string, std::string> file_of;
  bool found = false;
  json_cursor json(text, "safetensors", file);
  json.object([&](const std::string& key) {
    if (key == "metadata") return json.object([&](const std::string&) { json.scalar(); });
    if (key != "weight_map" || std::exchange(found, true))
      refuse_file("safetensors", file, "key " + in_quotes(key), "metadata and weight_map, each once");
    json.object([&](std::string tensor) {
      std::string name = json.string();
      if (name.empty() || name == "." || name == ".." || name.find_first_of("/\\") != std::string::npos)
        refuse_tensor(file, tensor, "file " + in_quotes(name), "the name of a file beside the index");
      if (!file_of.emplace(tensor, std::move(name)).second) refuse_tensor(file, tensor, "this name twice", "once");
    });
  });
  json.end();
  if (!found) refuse_file("safetensors", file, "no weight_map", "an index of safetensors files");
  return file_of;
}

/// Reads the bytes of one safetensors file; see `safetensors_reader`.
class safetensors_parser {
 public:
  safetensors_parser(std::span<const std::byte> bytes, std::string file) : file_(std::move(file)) {
    if (bytes.size() < 8)
      refuse_file("safetensors", file_, std::to_string(bytes.size()) + " bytes", "at least 8 (the header's length)");
    std::uint64_t length = 0;
    for (std::size_t i = 8; i-- > 0;) length = length << 8 | std::to_integer<std::uint64_t>(bytes[i]);
    const auto header_is = [&] { return "a header of " + std::to_string(length) + " bytes"; };
    if (length > longest_header) refuse_file("safetensors", file_, header_is(), "at most 100000000");
    if (length > bytes.size() - 8)
      refuse_file("safetensors", file_, header_is(),
                  "at most " + std::to_string(bytes.size() - 8) + " (the file's rest)");
    const auto header = bytes.subspan(8, static_cast<std::size_t>(length));
    header_ = {reinterpret_cast<const char*>(header.data()), header.size()};
    data_ = bytes.subspan(8 + static_cast<std::size_t>(length));
  }

  safetensors_contents parse() {
    if (header_.empty() || header_.front() != '{')
      refuse_file("safetensors", file_, "header byte 0 is " + in_quotes(header_.substr(0, 1)), "'{'");
    json_cursor json(header_, "safetensors", file_);
    bool has_metadata = false;
    json.object([&](std::string key) {
      if (key != "__metadata__") return tensor(json, std::move(key));
      if (std::exchange(has_metadata, true)) refuse_file("safetensors", file_, "__metadata__ twice", "once");
      metadata(json);
    });
    json.end();
    contents_.sort_names("safetensors", file_);
    check_tiling();
    return std::move(contents_);
  }

 private:
  static constexpr std::uint64_t longest_header = 100'000'000;  // the reference implementation's limit
  static constexpr std::size_t most_extents = 32;

  void metadata(json_cursor& json) {
    json.object([&](std::string key) {
      std::string value = json.string();
      if (!contents_.metadata.emplace(key, std::move(value)).second)
        refuse_file("safetensors", file_, "metadata " + in_quotes(key) + " twice", "each key once");
    });
  }

  void tensor(json_cursor& json, std::string name) {
    std::optional<tensor_type> type;
    std::optional<std::vector<index_t>> shape, offsets;
    const auto once = [&](bool given, std::string_view field) {
      if (given) refuse_tensor(file_, name, std::string(field) + " twice", "once");
    };
    const auto integers = [&](std::size_t most, std::string_view field) {
      std::vector<index_t> values;
      json.list([&] {
        if (values.size() == most)
          refuse_tensor(file_, name, "more than " + std::to_string(most) + " numbers in " + std::string(field),
                        "fewer");
        values.push_back(json.integer());
      });
      return values;
    };
    json.object([&](const std::string& field) {
      if (field == "dtype") {
        once(type.has_value(), field);
        const std::string text = json.string();
        type = find_tensor_type(text);
        if (!type) refuse_tensor(file_, name, "dtype " + in_quotes(text), all_type_names);
      } else if (field == "shape") {
        once(shape.has_value(), field);
        shape = integers(most_extents, field);
      } else if (field == "data_offsets") {
        once(offsets.has_value(), field);
        offsets = integers(2, field);
      } else {
        refuse_tensor(file_, name, "field " + in_quotes(field), "dtype, shape and data_offsets alone");
      }
    });
    if (!type || !shape || !offsets)
      refuse_tensor(file_, name, std::string("no ") + (!type ? "dtype" : !shape ? "shape" : "data_offsets"), "one");
    if (offsets->size() != 2) refuse_tensor(file_, name, "data_offsets without an end", "[begin, end]");
    add({std::move(name), *type, std::move(*shape), {}}, (*offsets)[0], (*offsets)[1]);
  }

  void add(stored_tensor tensor, index_t begin, index_t end) {
    const auto available = static_cast<index_t>(data_.size());
    if (begin > end)
      refuse_tensor(file_, tensor.name,
                    "begins at byte " + std::to_string(begin) + " and ends at " + std::to_string(end),
                    "a begin up to the end");
    if (end > available)
      refuse_tensor(file_, tensor.name, "ends at byte " + std::to_string(end),
                    "at most " + std::to_string(available) + " (the file's data)");
    const auto count = element_count(tensor.shape);
    const index_t size = element_size(tensor.type);
    if (!count || *count > std::numeric_limits<index_t>::max() / size)
      refuse_tensor(file_, tensor.name, "shape " + shape_text(tensor.shape), "at most 2^63 - 1 bytes");
    if (*count * size != end - begin)
      refuse_tensor(file_, tensor.name, std::to_string(end - begin) + " bytes",
                    std::to_string(*count * size) + " (" + std::string(type_name(tensor.type)) + ", shape " +
                        shape_text(tensor.shape) + ")");
    tensor.bytes = data_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    contents_.tensors.push_back(std::move(tensor));
  }

  // The format wants every byte of the data to belong to exactly one tensor: nothing hides in a hole.
  void check_tiling() const {
    const auto& tensors = contents_.tensors;
    const auto begin = [&](std::size_t i) { return tensors[i].bytes.data() - data_.data(); };
    const auto end = [&](std::size_t i) { return begin(i) + static_cast<index_t>(tensors[i].bytes.size()); };
    std::vector<std::size_t> order = contents_.by_name;
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return std::pair(begin(a), end(a)) < std::pair(begin(b), end(b)); });
    index_t covered = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const std::size_t t = order[i];
      if (begin(t) < covered)
        refuse_tensor(file_, tensors[t].name, "begins at byte " + std::to_string(begin(t)),
                      std::to_string(covered) + " (where tensor " + in_quotes(tensors[order[i - 1]].name) +
                          " ends: tensors must not overlap)");
      if (begin(t) > covered)
        refuse_tensor(file_, tensors[t].name, "begins at byte " + std::to_string(begin(t)),
                      std::to_string(covered) + " (the data must have no holes)");
      covered = end(t);
    }
    if (covered != static_cast<index_t>(data_.size()))
      refuse_file("safetensors", file_, std::to_string(data_.size()) + " bytes of data",
                  std::to_string(covered) + " (where the last tensor ends)");
  }

  std::string file_;
  std::string_view header_;
  std::span<const std::byte> data_;
  safetensors_contents contents_;
};

}  // namespace stroma::detail
