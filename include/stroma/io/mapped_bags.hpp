#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <stroma/core/array.hpp>
#include <stroma/core/check.hpp>
#include <stroma/io/csv.hpp>
#include <stroma/io/safetensors_reader.hpp>

namespace stroma {

/// Bags that stay on disk: a safetensors file whose every tensor [instances, features] is a bag of that name, or a
/// folder of such files (those ending in .safetensors, sorted by name). In a folder, a file with a tensor `features` is
/// one bag named after the file, and its other tensors (coordinates, ...) are left alone. All bags are of one width and
/// of a float type, each of its own; ids are unique over all files. Metadata `label.ID` holds a bag's label. Opening
/// reads headers only; pages of features come when they are touched, so a cohort may exceed the memory.
class mapped_bags {
 public:
  /// @throws format_error  as `safetensors_reader`; no bag at all; a tensor that is not [instances, features] of
  /// floats;
  ///   bags of different width (the message names both); an id twice; a label for some bags only, or not a number
  explicit mapped_bags(const std::filesystem::path& path) {
    std::error_code ignored;
    const bool folder = std::filesystem::is_directory(path, ignored);
    for (const std::filesystem::path& file : folder ? files_in(path) : std::vector{path}) {
      readers_.emplace_back(file);
      const stored_tensor* const slide = folder ? readers_.back().find("features") : nullptr;
      if (slide != nullptr) add(file.stem().string(), *slide);
      else
        for (const stored_tensor& tensor : readers_.back().tensors()) add(tensor.name, tensor);
    }
    if (ids_.empty()) detail::refuse_file("mapped_bags", path.string(), "no tensor", "at least one bag");
    if (!labels_.empty() && labels_.size() != ids_.size())
      detail::refuse_file("mapped_bags", path.string(), std::to_string(labels_.size()) + " labels",
                          std::to_string(ids_.size()) + " (one a bag) or none");
  }

  [[nodiscard]] index_t count() const noexcept { return static_cast<index_t>(ids_.size()); }
  [[nodiscard]] index_t features() const noexcept { return bags_.front().tensor->shape[1]; }
  /// Of all bags together.
  [[nodiscard]] index_t rows() const noexcept { return rows_; }
  [[nodiscard]] index_t rows(index_t b) const { return bag(b).tensor->shape[0]; }
  [[nodiscard]] tensor_type type(index_t b) const { return bag(b).tensor->type; }
  [[nodiscard]] const std::string& id(index_t b) const { return ids_[at(b)]; }
  [[nodiscard]] const std::vector<std::string>& ids() const noexcept { return ids_; }
  /// [bags], or empty where the files have none.
  [[nodiscard]] const std::vector<double>& labels() const noexcept { return labels_; }

  /// Returns f(view) with a matrix_view<const S> of the bag's elements, S being what the file holds: double, float,
  /// half or bfloat16. f must take all four and return one type; the view ends with the call. Nothing is copied, unless
  /// the bag lies unaligned in its file.
  template <class F>
  decltype(auto) visit(index_t b, F&& f) const {
    const stored_tensor& tensor = *bag(b).tensor;
    switch (tensor.type) {
      case tensor_type::f64:
        return visit_as<double>(tensor, f);
      case tensor_type::f16:
        return visit_as<half>(tensor, f);
      case tensor_type::bf16:
        return visit_as<bfloat16>(tensor, f);
      default:
        return visit_as<float>(tensor, f);
    }
  }

  /// Whether `visit` shows the file's own bytes, a view that stays valid as long as this object, or a copy.
  [[nodiscard]] bool in_place(index_t b) const {
    const stored_tensor& tensor = *bag(b).tensor;
    return tensor.size() == 0 || visit_type(tensor.type, [&]<class S>(std::type_identity<S>) {
             return detail::elements_in_place<S>(tensor) != nullptr;
           });
  }

  /// Copies a bag, converting to the scalar of `out`. @throws format_error  the shape is not that of `out`
  template <matrix_like Out>
  void copy_to(index_t b, Out&& out) const {
    readers_[bag(b).file].copy_to(bag(b).tensor->name, out);
  }

 private:
  struct place {
    std::size_t file;
    const stored_tensor* tensor;  ///< stays put when readers move: it is in the reader's vector
  };

  static std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> files;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
      if (entry->path().extension() == ".safetensors") files.push_back(entry->path());
    if (error) detail::refuse_file("mapped_bags", folder.string(), "cannot be listed", "a readable folder");
    std::sort(files.begin(), files.end());
    return files;
  }

  void add(std::string id, const stored_tensor& tensor) {
    const safetensors_reader& reader = readers_.back();
    const auto refuse = [&](std::string_view found, std::string_view expected) {
      detail::refuse_file("mapped_bags", reader.file() + ": tensor " + detail::in_quotes(tensor.name), found, expected);
    };
    if (tensor.shape.size() != 2 || tensor.shape[1] == 0)
      refuse("shape " + detail::shape_text(tensor.shape), "[instances, features]");
    if (!is_floating(tensor.type)) refuse("dtype " + std::string(type_name(tensor.type)), "F64, F32, F16 or BF16");
    if (!bags_.empty() && tensor.shape[1] != features())
      refuse(std::to_string(tensor.shape[1]) + " features",
             std::to_string(features()) + " (those of bag " + detail::in_quotes(ids_.front()) + ")");
    if (!known_.insert(id).second) refuse("bag " + detail::in_quotes(id) + " twice", "each id once");
    if (tensor.shape[0] > std::numeric_limits<index_t>::max() / 8 / tensor.shape[1] - rows_)
      refuse("shape " + detail::shape_text(tensor.shape), "fewer than 2^60 features in all");
    rows_ += tensor.shape[0];
    if (const auto label = reader.metadata().find("label." + id); label != reader.metadata().end()) {
      const auto value = detail::parse_number(label->second);
      if (!value || std::isnan(*value)) refuse("label " + detail::in_quotes(label->second), "a number");
      labels_.push_back(*value);
    }
    bags_.push_back({readers_.size() - 1, &tensor});
    ids_.push_back(std::move(id));
  }

  [[nodiscard]] std::size_t at(index_t b) const {
    check::require(b >= 0 && b < count(), "mapped_bags", "bag", std::to_string(b), "below " + std::to_string(count()));
    return static_cast<std::size_t>(b);
  }
  [[nodiscard]] const place& bag(index_t b) const { return bags_[at(b)]; }

  template <class S, class F>
  static decltype(auto) visit_as(const stored_tensor& tensor, F& f) {
    const index_t rows = tensor.shape[0], cols = tensor.shape[1];
    const S* const place = detail::elements_in_place<S>(tensor);
    if (place != nullptr || tensor.size() == 0) return f(matrix_view<const S>(place, rows, cols));
    array<S, 2> copy(rows, cols);
    detail::copy_elements(tensor, matrix_view<S>(copy.data(), rows, cols));
    return f(matrix_view<const S>(copy.data(), rows, cols));
  }

  std::vector<safetensors_reader> readers_;
  std::vector<place> bags_;
  std::vector<std::string> ids_;
  std::vector<double> labels_;
  std::set<std::string> known_;
  index_t rows_ = 0;
};

}  // namespace stroma
