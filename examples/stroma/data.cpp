#include "data.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include <stroma/io/bags.hpp>
#include <stroma/io/clinical.hpp>
#include <stroma/io/table.hpp>

#include "train_options.hpp"

namespace program {
namespace {

/// Bags are used at their place in the file where the training graph can read them there.
bool stays_on_disk(const stroma::mapped_bags& files) {
  for (index_t b = 0; b < files.count(); ++b)
    if (files.type(b) == stroma::tensor_type::f64 || !files.in_place(b)) return false;
  return true;
}

/// A class as a whole number from 0.
int class_of(double label, const std::string& where) {
  if (label < 0 || label > 9999 || label != std::floor(label))
    stroma::detail::refuse_file("train", where, std::to_string(label), "a class: a whole number from 0");
  return static_cast<int>(label);
}

stroma::follow_up_columns columns_of(const clinical_columns& c, const stroma::table& table) {
  return {.id = c.id,
          .time = c.time,
          .event = c.event,
          .coding = c.censored ? stroma::event_coding::censored : stroma::event_coding::observed,
          .cohort = c.cohort == clinical_columns{}.cohort && !table.contains(c.cohort) ? "" : c.cohort};
}

/// The row of the table for each bag. One patient in two bags would be in the training and in the test part at once.
std::vector<index_t> rows_of(const bag_source& bags, const stroma::follow_up& clinical) {
  auto rows = stroma::match_bags(bags.ids(), clinical, stroma::id_match::beginning);
  std::map<index_t, std::size_t> bag_of_row;
  for (std::size_t b = 0; b < rows.size(); ++b) {
    const auto [first, fresh] = bag_of_row.emplace(rows[b], b);
    if (!fresh)
      stroma::detail::refuse_file("train", "bags '" + bags.ids()[first->second] + "' and '" + bags.ids()[b] + "'",
                                  "both of patient '" + clinical.ids[static_cast<std::size_t>(rows[b])] + "'",
                                  "one bag a patient");
  }
  return rows;
}

template <class T>
std::vector<T> take(const std::vector<T>& values, const std::vector<index_t>& rows) {
  std::vector<T> taken;
  if (values.empty()) return taken;
  for (const index_t r : rows) taken.push_back(values[static_cast<std::size_t>(r)]);
  return taken;
}

}  // namespace

bag_source::bag_source(const std::filesystem::path& path) : is_table_(path.extension() == ".csv") {
  std::error_code ignored;
  if (is_table_ || (path.extension() != ".safetensors" && !std::filesystem::is_directory(path, ignored))) {
    memory_ = stroma::read_bags<float>(path);
  } else {
    files_.emplace(path);
    if (!stays_on_disk(*files_)) {
      memory_ = stroma::read_bags<float>(path);
      files_.reset();
    }
  }
  check();
}

void bag_source::check() const {
  for (index_t b = 0; b < count(); ++b) {
    const std::string name = "bag '" + ids()[static_cast<std::size_t>(b)] + "'";
    visit(b, [&](auto x) {
      if (x.rows == 0) stroma::detail::refuse_file("read_bags", name, "no instance", "at least one");
      stroma::check::finite("read_bags", name, x);
    });
  }
}

standardisation bag_source::measure(std::span<const index_t> bags) const {
  const auto width = static_cast<std::size_t>(features());
  std::vector<double> sum(width), squares(width);
  double rows = 0;
  const auto each = [&](auto&& f) {
    for (const index_t b : bags)
      visit(b, [&](auto x) {
        for (index_t r = 0; r < x.rows; ++r)
          for (std::size_t j = 0; j < width; ++j) f(j, stroma::widen<double>(x(r, static_cast<index_t>(j))));
      });
  };
  for (const index_t b : bags) visit(b, [&](auto x) { rows += static_cast<double>(x.rows); });
  each([&](std::size_t j, double x) { sum[j] += x / rows; });
  each([&](std::size_t j, double x) { squares[j] += (x - sum[j]) * (x - sum[j]) / rows; });
  standardisation by{stroma::array<float, 1>(features()), stroma::array<float, 1>(features())};
  for (std::size_t j = 0; j < width; ++j) {
    const double deviation = std::sqrt(squares[j]);
    by.mean[static_cast<index_t>(j)] = static_cast<float>(sum[j]);
    by.scale[static_cast<index_t>(j)] =
        deviation > 1e-6 * std::abs(sum[j]) && deviation > 0 ? static_cast<float>(deviation) : 1.0f;
  }
  return by;
}

bag_source bag_source::standardised(const standardisation& by) const {
  bag_source copy;
  index_t rows = 0;
  copy.memory_.offsets = {0};
  for (index_t b = 0; b < count(); ++b) {
    visit(b, [&](auto x) { rows += x.rows; });
    copy.memory_.offsets.push_back(rows);
  }
  copy.is_table_ = is_table_;
  copy.memory_.ids = ids();
  copy.memory_.labels = labels();
  copy.memory_.instances = stroma::array<float, 2>(rows, features());
  for (index_t b = 0; b < count(); ++b)
    visit(b, [&](auto x) {
      for (index_t r = 0; r < x.rows; ++r)
        for (index_t j = 0; j < x.cols; ++j)
          copy.memory_.instances(copy.memory_.offsets[static_cast<std::size_t>(b)] + r, j) =
              (stroma::widen<float>(x(r, j)) - by.mean[j]) / by.scale[j];
    });
  return copy;
}

std::optional<bag_source> bag_source::standardised_if(const std::optional<standardisation>& by) const {
  if (!by) return std::nullopt;
  return standardised(*by);
}

int targets::classes() const { return label.empty() ? 0 : 1 + *std::max_element(label.begin(), label.end()); }

std::vector<int> targets::strata() const {
  std::map<std::string, int> cohorts;
  std::vector<int> result;
  for (std::size_t i = 0; i < std::max(label.size(), event.size()); ++i) {
    const int outcome = label.empty() ? static_cast<int>(event[i]) : label[i];
    const int of_cohort =
        cohort.empty() ? 0 : cohorts.emplace(cohort[i], static_cast<int>(cohorts.size())).first->second;
    result.push_back(10000 * of_cohort + outcome);
  }
  return result;
}

targets read_survival(const bag_source& bags, const std::string& clinical, const clinical_columns& columns) {
  const stroma::table table(clinical);
  const auto followed = stroma::read_follow_up(table, columns_of(columns, table));
  const auto rows = rows_of(bags, followed);
  return {take(followed.time, rows), take(followed.event, rows), {}, take(followed.cohort, rows)};
}

targets read_classes(const bag_source& bags, const std::string& clinical, const clinical_columns& columns) {
  targets result;
  if (clinical.empty()) {
    if (bags.labels().empty())
      stroma::detail::refuse_file("train", "labels", "none in the bags' files",
                                  "labels there, or --clinical with --label-column");
    for (std::size_t b = 0; b < bags.labels().size(); ++b)
      result.label.push_back(class_of(bags.labels()[b], "label of bag '" + bags.ids()[b] + "'"));
    return result;
  }
  const stroma::table table(clinical);
  const stroma::follow_up patients{.ids = table.texts(columns.id), .time = {}, .event = {}, .cohort = {}, .label = {}};
  const auto labels = table.numbers(columns.label);
  for (const index_t row : rows_of(bags, patients))
    result.label.push_back(
        class_of(labels[static_cast<std::size_t>(row)],
                 table.file() + ": line " + std::to_string(table.line(row)) + ", column '" + columns.label + "'"));
  return result;
}

}  // namespace program
