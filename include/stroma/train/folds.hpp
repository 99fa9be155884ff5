#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/random.hpp>
#include <stroma/core/tensor.hpp>

namespace stroma {

/// Samples to learn from and samples to judge by, each in ascending order.
struct split {
  std::vector<index_t> train, test;
};

/// What a part without any sample of some class is: an error, or how it happens to be.
enum class absent_class { refuse, allow };

struct fold_options {
  index_t folds = 5;
  std::uint64_t seed = 0;
  absent_class absent = absent_class::refuse;
};

struct validation_options {
  double fraction = 0.2;  ///< of the samples that become the test part, between 0 and 1
  std::uint64_t seed = 0;
  absent_class absent = absent_class::refuse;
};

namespace detail {

/// The given samples by class, each class in an order of its own: shuffled by a stream that depends on seed, class
/// and use, so that one class's samples do not depend on another's.
struct label_class {
  double label;
  std::vector<index_t> samples;
};
template <class T>
[[nodiscard]] std::vector<label_class> shuffled_classes(std::string_view function, std::span<const index_t> samples,
                                                        vector_view<const T> label, std::uint64_t seed,
                                                        std::uint32_t use) {
  const auto at = [&](index_t i) { return widen<double>(label[i]); };
  std::vector<index_t> order(samples.begin(), samples.end());
  for (const index_t i : order) {
    check::in_range(function, "samples", i, index_t{0}, label.size - 1);
    check::require(std::isfinite(at(i)), function, "label", "NaN or infinity at " + std::to_string(i),
                   "finite classes");
  }
  std::sort(order.begin(), order.end());
  check::require(std::adjacent_find(order.begin(), order.end()) == order.end(), function, "samples", "a sample twice",
                 "each sample once");
  std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t b) { return at(a) < at(b); });
  std::vector<label_class> classes;
  for (const index_t i : order) {
    if (classes.empty() || classes.back().label != at(i)) classes.push_back({at(i), {}});
    classes.back().samples.push_back(i);
  }
  for (std::size_t c = 0; c < classes.size(); ++c)
    random_stream(seed, use, static_cast<std::uint32_t>(c)).shuffle(classes[c].samples);
  return classes;
}

[[nodiscard]] inline std::vector<index_t> all_samples(index_t count) {
  std::vector<index_t> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), index_t{0});
  return all;
}

}  // namespace detail

/// The fold of each sample, such that the folds' sizes differ by one at most, and so do each class's.
/// @param label [N] classes in any arithmetic type: an event (0 or 1), a subtype, both as 2 subtype + event
/// Deterministic in the seed, on every platform. Cost: O(N log N).
/// @throws shape_error  fewer samples than folds
/// @throws value_error  fewer than 2 folds; a class too small for every fold to have one of it (unless allowed); NaN
template <vector_like Labels>
  requires std::same_as<space_of<Labels>, host_space>
[[nodiscard]] std::vector<index_t> assign_folds(const Labels& label, const fold_options& options = {}) {
  constexpr auto name = "assign_folds";
  const auto v = as_const_view(label);
  check::require(options.folds >= 2, name, "options.folds", std::to_string(options.folds), "2 or more");
  if (v.size < options.folds)
    throw shape_error(error_message(name, "label", std::to_string(v.size) + " samples",
                                    "at least " + std::to_string(options.folds) + " (one a fold)"));
  const auto classes = detail::shuffled_classes(name, detail::all_samples(v.size), v, options.seed, 0);
  if (options.absent == absent_class::refuse)
    for (const auto& c : classes)
      check::require(static_cast<index_t>(c.samples.size()) >= options.folds, name, "label",
                     std::to_string(c.samples.size()) + " samples of class " + number_text(c.label),
                     "at least " + std::to_string(options.folds) + ", or a fold would have none");
  std::vector<index_t> fold(static_cast<std::size_t>(v.size));
  index_t next = 0;  // goes on from class to class: the sizes of whole folds stay even as well
  for (const auto& c : classes)
    for (const index_t i : c.samples) fold[static_cast<std::size_t>(i)] = next++ % options.folds;
  return fold;
}

/// One split for each fold: its samples are the test part, all others the training part.
/// @param fold [N] folds 0 .. K - 1, as `assign_folds` or a published file gives them
/// @throws value_error  a fold below 0, a fold without samples (numbers up to the largest must all appear), one fold
template <vector_like Folds>
  requires(std::same_as<space_of<Folds>, host_space> && std::integral<scalar_of<Folds>>)
[[nodiscard]] std::vector<split> folds_from_assignment(const Folds& fold) {
  constexpr auto name = "folds_from_assignment";
  const auto v = as_const_view(fold);
  index_t folds = 0;
  for (index_t i = 0; i < v.size; ++i) {
    const auto f = static_cast<index_t>(v[i]);
    check::require(f >= 0 && f < v.size, name, "fold", std::to_string(f) + " at " + std::to_string(i),
                   "0 to below " + std::to_string(v.size) + " (the number of samples)");
    folds = std::max(folds, f + 1);
  }
  check::require(folds >= 2, name, "fold", std::to_string(folds) + " folds", "2 or more");
  std::vector<split> splits(static_cast<std::size_t>(folds));
  for (index_t i = 0; i < v.size; ++i)
    for (index_t f = 0; f < folds; ++f) {
      split& s = splits[static_cast<std::size_t>(f)];
      (f == static_cast<index_t>(v[i]) ? s.test : s.train).push_back(i);
    }
  for (index_t f = 0; f < folds; ++f)
    check::require(!splits[static_cast<std::size_t>(f)].test.empty(), name, "fold",
                   "no sample in fold " + std::to_string(f), "samples in each of 0 to " + std::to_string(folds - 1));
  return splits;
}

/// Every part of every split has an event, without which neither a survival loss nor concordance says anything.
/// @param event [N] 1 observed, 0 censored
/// @throws value_error  `check_events: split 3: no event among its 12 test samples, expected one at least`
template <vector_like Events>
  requires std::same_as<space_of<Events>, host_space>
void check_events(std::span<const split> splits, const Events& event) {
  const auto e = as_const_view(event);
  check::event_flags("check_events", "event", e);
  for (std::size_t f = 0; f < splits.size(); ++f)
    for (const auto* part : {&splits[f].train, &splits[f].test}) {
      bool any = false;
      for (const index_t i : *part) {
        check::in_range("check_events", "splits", i, index_t{0}, e.size - 1);
        any = any || e[i] == scalar_of<Events>(1);
      }
      check::require(any, "check_events", "split " + std::to_string(f),
                     "no event among its " + std::to_string(part->size()) +
                         (part == &splits[f].train ? " training" : " test") + " samples",
                     "one at least");
    }
}

/// K-fold cross-validation, stratified by label: `assign_folds`, then `folds_from_assignment`.
template <vector_like Labels>
  requires std::same_as<space_of<Labels>, host_space>
[[nodiscard]] std::vector<split> stratified_folds(const Labels& label, const fold_options& options = {}) {
  return folds_from_assignment(assign_folds(label, options));
}

/// Sets a stratified part of the given samples aside, for early stopping or a choice of options inside a fold.
/// @param samples  for example a fold's training part   @param label [N], as above, of all samples
/// Of n samples, n fraction (rounded) become the test part; of each class its share, but for one sample.
/// @throws value_error  a fraction that leaves a part, or a class in a part (unless allowed), empty; a sample twice
template <vector_like Labels>
  requires std::same_as<space_of<Labels>, host_space>
[[nodiscard]] split validation_split(std::span<const index_t> samples, const Labels& label,
                                     const validation_options& options = {}) {
  constexpr auto name = "validation_split";
  check::require(options.fraction > 0 && options.fraction < 1, name, "options.fraction", number_text(options.fraction),
                 "between 0 and 1");
  split parts;
  double seen = 0;
  for (const auto& c : detail::shuffled_classes(name, samples, as_const_view(label), options.seed, 1)) {
    seen += static_cast<double>(c.samples.size());
    // Rounding the running total, not each class, keeps the size of the whole part right.
    const auto wanted =
        static_cast<index_t>(std::llround(seen * options.fraction)) - static_cast<index_t>(parts.test.size());
    check::require(
        options.absent == absent_class::allow || (wanted > 0 && wanted < static_cast<index_t>(c.samples.size())), name,
        "label", std::to_string(c.samples.size()) + " samples of class " + number_text(c.label),
        "enough for both parts");
    parts.test.insert(parts.test.end(), c.samples.begin(), c.samples.begin() + wanted);
    parts.train.insert(parts.train.end(), c.samples.begin() + wanted, c.samples.end());
  }
  check::require(!parts.test.empty() && !parts.train.empty(), name, "samples",
                 std::to_string(samples.size()) + " samples", "enough for both parts");
  std::sort(parts.train.begin(), parts.train.end());
  std::sort(parts.test.begin(), parts.test.end());
  return parts;
}

}  // namespace stroma
