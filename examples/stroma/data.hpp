#pragma once
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include <stroma/adapt/std.hpp>
#include <stroma/core/members.hpp>
#include <stroma/io/bag_set.hpp>
#include <stroma/io/mapped_bags.hpp>

#include "spec.hpp"

namespace program {

/// Mean and scale of each feature: x becomes (x - mean) / scale.
struct standardisation {
  stroma::array<float, 1> mean, scale;
  static auto members(auto& self) {
    return std::tuple{stroma::member{"mean", self.mean}, stroma::member{"scale", self.scale}};
  }
};

/// Bags to learn from or to judge: a CSV file in memory, or safetensors files that stay on disk in their own type.
class bag_source {
 public:
  /// @throws stroma::format_error  an empty bag, a feature that is not finite, and all that the readers refuse
  explicit bag_source(const std::filesystem::path& path);

  [[nodiscard]] index_t count() const { return static_cast<index_t>(ids().size()); }
  [[nodiscard]] const std::vector<std::string>& ids() const { return files_ ? files_->ids() : memory_.ids; }
  /// One a bag, or empty.
  [[nodiscard]] const std::vector<double>& labels() const { return files_ ? files_->labels() : memory_.labels; }
  [[nodiscard]] index_t features() const { return files_ ? files_->features() : memory_.features(); }
  /// Whether the features are a table's own numbers, in units of their own, rather than an encoder's.
  [[nodiscard]] bool is_table() const { return is_table_; }

  /// f(matrix_view<const S>) with S float, half or bfloat16; the view stays valid as long as this object.
  template <class F>
  decltype(auto) visit(index_t bag, F&& f) const {
    if (!files_) return f(memory_.view()[bag]);
    return files_->visit(bag, [&]<class View>(View view) -> decltype(f(memory_.view()[bag])) {
      if constexpr (std::is_same_v<typename View::value_type, double>)
        return f(memory_.view()[bag]);  // never: see stays_on_disk
      else return f(view);
    });
  }

  /// Of all instances of these bags together; features that do not vary get scale 1.
  [[nodiscard]] standardisation measure(std::span<const index_t> bags) const;
  /// A copy in memory, or nothing where there is nothing to do.
  [[nodiscard]] std::optional<bag_source> standardised_if(const std::optional<standardisation>& by) const;

 private:
  bag_source() = default;
  [[nodiscard]] bag_source standardised(const standardisation& by) const;
  void check() const;

  bool is_table_ = false;
  std::optional<stroma::mapped_bags> files_;
  stroma::bag_set<float> memory_;
};

/// What is known of each bag beside its features, in the order of the bags.
struct targets {
  std::vector<double> time, event;  ///< survival
  std::vector<int> label;           ///< classes, from 0
  std::vector<std::string> cohort;  ///< or empty

  [[nodiscard]] int classes() const;
  /// One number for each combination of event or class and cohort: folds are stratified by it.
  [[nodiscard]] std::vector<int> strata() const;
};

struct clinical_columns;

[[nodiscard]] targets read_survival(const bag_source& bags, const std::string& clinical,
                                    const clinical_columns& columns);
/// From the clinical table, or from the bags themselves if it is empty.
[[nodiscard]] targets read_classes(const bag_source& bags, const std::string& clinical,
                                   const clinical_columns& columns);

}  // namespace program
