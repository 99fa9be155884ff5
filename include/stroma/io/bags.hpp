#pragma once
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/io/bag_set.hpp>
#include <stroma/io/csv.hpp>
#include <stroma/io/mapped_bags.hpp>
#include <stroma/io/safetensors_writer.hpp>
#include <stroma/io/table.hpp>

namespace stroma {

/// The columns of a bag CSV that are not features.
struct bag_columns {
  std::string bag = "bag";
  std::string label = "label";  ///< need not be there
};

/// Which bag is which, for writing. `labels` may be empty.
struct bag_names {
  std::span<const std::string> ids;
  std::span<const double> labels = {};
};

namespace detail {

/// Reads a bag CSV in two passes over the mapped file: the first sizes the bags, the second fills them. So rows need
/// not be sorted by bag, and nothing is held twice.
template <class S>
class bag_csv_reader {
 public:
  bag_csv_reader(const std::filesystem::path& path, const bag_columns& columns)
      : map_(path, "read_bags"), file_(path.string()) {
    csv_rows csv(map_.text(), "read_bags", file_);
    if (!csv.next()) refuse_file("read_bags", file_, "no line", "a header");
    names_.assign(csv.cells().begin(), csv.cells().end());
    bag_ = column(columns.bag);
    label_ = column(columns.label);
    if (bag_ == names_.size()) refuse_file("read_bags", file_, "no column " + in_quotes(columns.bag), "one");
    if (names_.size() < (label_ < names_.size() ? 3u : 2u))
      refuse_file("read_bags", file_, "no feature", "at least one");
    while (csv.next()) count(csv);
    if (row_bag_.empty()) refuse_file("read_bags", file_, "no instance", "at least one bag");
  }

  bag_set<S> read() {
    for (const index_t rows : sizes_) out_.offsets.push_back(out_.offsets.back() + rows);
    const std::size_t features = names_.size() - (label_ < names_.size() ? 2 : 1);
    out_.instances = array<S, 2>(out_.offsets.back(), static_cast<index_t>(features));
    std::vector<index_t> next(out_.offsets.begin(), out_.offsets.end() - 1);
    csv_rows csv(map_.text(), "read_bags", file_);
    csv.next();
    for (std::size_t row = 0; row < row_bag_.size() && csv.next(); ++row) {
      csv.require_cells(names_.size());  // again: the file may change under the map
      S* to = out_.instances.data() + next[row_bag_[row]]++ * out_.instances.cols();
      for (std::size_t c = 0; c < names_.size(); ++c)
        if (c != bag_ && c != label_) *to++ = element(csv, c);
    }
    return std::move(out_);
  }

 private:
  std::size_t column(std::string_view name) const {
    std::size_t c = 0;
    while (c < names_.size() && names_[c] != name) ++c;
    return c;
  }

  [[noreturn]] void refuse(const csv_rows& csv, std::size_t c, std::string_view expected) const {
    refuse_cell("read_bags", file_, csv.line(), names_[c], in_quotes(csv.cells()[c]), expected);
  }

  void count(const csv_rows& csv) {
    csv.require_cells(names_.size());
    std::string id(csv.cells()[bag_]);
    if (id.empty()) refuse(csv, bag_, "a bag's id");
    double label = 0;
    if (label_ < names_.size()) {
      const auto value = parse_number(csv.cells()[label_]);
      if (!value || std::isnan(*value)) refuse(csv, label_, "a number");
      label = *value;
    }
    const auto [known, fresh] = index_.emplace(id, sizes_.size());
    const std::size_t b = known->second;
    if (fresh) {
      sizes_.push_back(0);
      out_.ids.push_back(std::move(id));
      if (label_ < names_.size()) out_.labels.push_back(label);
    } else if (label_ < names_.size() && out_.labels[b] != label) {
      refuse(csv, label_, "the label of the earlier rows of bag " + in_quotes(id));
    }
    ++sizes_[b];
    row_bag_.push_back(b);
  }

  S element(const csv_rows& csv, std::size_t c) const {
    const auto value = parse_number(csv.cells()[c]);
    if (!value || std::isnan(*value)) refuse(csv, c, "a number");
    const S stored = narrow<S>(*value);
    if (!std::isfinite(widen<double>(stored))) refuse(csv, c, "a number that the bags' type can hold");
    return stored;
  }

  memory_map map_;
  std::string file_;
  std::vector<std::string> names_;
  std::size_t bag_ = 0, label_ = 0;
  std::unordered_map<std::string, std::size_t> index_;
  std::vector<index_t> sizes_;
  std::vector<std::size_t> row_bag_;
  bag_set<S> out_;
};

template <class Bags>
void write_bag_tensors(const std::filesystem::path& path, const Bags& bags, const bag_names& names) {
  using S = typename Bags::value_type;
  std::vector<tensor_plan> plans;
  file_metadata metadata;
  for (std::size_t b = 0; b < names.ids.size(); ++b) {
    plans.push_back({names.ids[b], tensor_type_of<S>, {bags.length(static_cast<index_t>(b)), bags.instances.cols}});
    if (names.labels.empty()) continue;
    std::array<char, 64> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), names.labels[b]).ptr;
    metadata.emplace("label." + names.ids[b], std::string(digits.data(), end));
  }
  safetensors_writer out(path, std::move(plans), metadata);
  for (std::size_t b = 0; b < names.ids.size(); ++b) out.append(names.ids[b], bags[static_cast<index_t>(b)]);
  out.finish();
}

template <class Bags>
void write_bag_rows(const std::filesystem::path& path, const Bags& bags, const bag_names& names) {
  std::vector<std::string> columns{"bag"};
  if (!names.labels.empty()) columns.emplace_back("label");
  for (index_t c = 0; c < bags.instances.cols; ++c) columns.push_back("f" + std::to_string(c));
  table_writer out(path, columns);
  for (index_t b = 0; b < bags.count(); ++b) {
    const auto at = static_cast<std::size_t>(b);
    check::require(bags.length(b) > 0, "write_bags", "bag " + in_quotes(names.ids[at]), "no instance",
                   "at least one (a CSV file cannot hold an empty bag)");
    for (index_t r = bags.offsets[b]; r < bags.offsets[b + 1]; ++r) {
      out.cell(names.ids[at]);
      if (!names.labels.empty()) out.cell(names.labels[at]);
      for (index_t c = 0; c < bags.instances.cols; ++c) {
        using number = std::conditional_t<std::is_same_v<typename Bags::value_type, double>, double, float>;
        out.cell(widen<number>(bags.instances(r, c)));
      }
      out.end_row();
    }
  }
  out.finish();
}

}  // namespace detail

/// Reads bags from a CSV file with one row an instance: the bag's id, its label (if there is one, the same in all its
/// rows), features in all other columns. Bags stand in the order of first appearance; their rows may lie apart.
/// Cost: two passes over the text; memory for the bags and 8 bytes an instance.
/// @throws format_error  names line and column: not a number, a missing or infinite one, labels that disagree
template <class S>
[[nodiscard]] bag_set<S> read_bag_csv(const std::filesystem::path& path, const bag_columns& columns = {}) {
  return detail::bag_csv_reader<S>(path, columns).read();
}

/// Reads all bags into memory as elements of S: `.csv` (see `read_bag_csv`), `.safetensors` or a folder of those (see
/// `mapped_bags`); wider floats are rounded. Empty bags are kept.
/// @throws format_error  as the two, or another kind of file
template <class S>
[[nodiscard]] bag_set<S> read_bags(const std::filesystem::path& path) {
  if (path.extension() == ".csv") return read_bag_csv<S>(path);
  std::error_code ignored;
  if (path.extension() != ".safetensors" && !std::filesystem::is_directory(path, ignored))
    detail::refuse_file("read_bags", path.string(), "this kind of file", ".csv, .safetensors or a folder");
  const mapped_bags files(path);
  bag_set<S> bags{array<S, 2>(files.rows(), files.features()), {0}, files.ids(), files.labels()};
  for (index_t b = 0; b < files.count(); ++b) {
    const index_t first = bags.offsets.back();
    files.copy_to(b, matrix_view<S>(bags.instances.data() + first * files.features(), files.rows(b), files.features()));
    bags.offsets.push_back(first + files.rows(b));
  }
  return bags;
}

/// Writes bags as `.csv` or `.safetensors`, by the path's ending, such that `read_bags` returns the same. Memory stays
/// bounded. The file appears whole or not at all.
/// @throws shape_error  not one id, or label, for each bag   @throws value_error  ids that are not unique or empty; an
///   empty bag in a CSV file; another ending   @throws format_error  the file cannot be written
template <bag_like Bags>
void write_bags(const std::filesystem::path& path, const Bags& bags, const bag_names& names) {
  const auto view = as_const_view(bags);
  check::offsets("write_bags", "offsets", view.offsets, view.instances.rows);
  check::length("write_bags", "ids", static_cast<index_t>(names.ids.size()), view.count(), "the bags");
  if (!names.labels.empty())
    check::length("write_bags", "labels", static_cast<index_t>(names.labels.size()), view.count(), "the bags");
  std::set<std::string_view> known;
  for (const std::string& id : names.ids)
    check::require(!id.empty() && known.insert(id).second, "write_bags", "ids", detail::in_quotes(id),
                   "ids that are not empty, each once");
  for (const double label : names.labels)
    check::require(std::isfinite(label), "write_bags", "labels", std::to_string(label), "finite labels");
  if (path.extension() == ".csv") detail::write_bag_rows(path, view, names);
  else if (path.extension() == ".safetensors") detail::write_bag_tensors(path, view, names);
  else throw value_error(error_message("write_bags", path.string(), "this kind of file", ".csv or .safetensors"));
}
template <class S>
void write_bags(const std::filesystem::path& path, const bag_set<S>& bags) {
  write_bags(path, bags, {bags.ids, bags.labels});
}

}  // namespace stroma
