#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/members.hpp>
#include <stroma/optim/parameter_update.hpp>
#include <stroma/taskvector/detail/for_each_tensor.hpp>
#include <stroma/taskvector/detail/gram.hpp>

namespace stroma {

/// What a merging rule sees at a time: one tensor of a base and of the models tuned from it, row by row without gaps.
template <class T>
struct tensor_slices {
  std::string_view name;
  index_t rows = 1, cols = 0;  ///< a vector is one row; a convolution's weight is [out, in * height * width]
  bool is_matrix = false;      ///< two extents or more
  const T* base = nullptr;     ///< null: the models are task vectors already, or are merged as they are
  std::span<const T* const> models;
  std::span<const T* const> importance;  ///< of each element in each model, for the rules that want it; else empty

  [[nodiscard]] index_t size() const { return rows * cols; }
};

/// A merging rule: what becomes of one tensor, and what must be known of all tensors before. `begin` comes first; then,
/// as long as `wants_pass`, all tensors are shown to `observe` and `conclude` ends the pass; then `merge` fills each
/// tensor. So a rule with a global threshold works on files that are never in memory whole. T is float or double.
template <class Rule>
concept merging_rule = requires(Rule& rule, const Rule& as_const, cpu_context& ctx, const tensor_slices<float>& slices,
                                float* out, index_t models) {
  { as_const.name() } -> std::convertible_to<std::string_view>;  // first in messages
  rule.begin(models);                                            // checks the options against the number of models
  { as_const.wants_pass() } -> std::same_as<bool>;
  rule.observe(ctx, slices);
  rule.conclude();
  /// out [rows * cols]; returns how many elements of all task vectors were left after trimming or dropping
  { rule.merge(ctx, slices, out) } -> std::same_as<index_t>;
};

/// The part of a rule that needs nothing but the tensor it merges: derive from it and add `name`, `begin`, `merge`.
struct tensorwise_rule {
  [[nodiscard]] static bool wants_pass() { return false; }
  template <class T>
  static void observe(cpu_context&, const tensor_slices<T>&) {}
  static void conclude() {}
};

/// What merging did to one tensor. Task vectors are differences from the base, or from the first model without one.
struct tensor_change {
  std::string name;
  index_t size = 0;
  std::vector<double> vector_norms;  ///< of each model's task vector
  double change_norm = 0;            ///< of the result's difference
  double mean_cosine = 0;            ///< between the task vectors of two models, on average; 0 with fewer than two
  double sign_conflicts = 0;         ///< part of the elements that some models raise and others lower
  double kept = 1;                   ///< part of the task vectors' elements left after trimming or dropping
  index_t overflowed = 0;            ///< elements too large for the type of the file they were written to
};
using merge_report = std::vector<tensor_change>;

namespace detail {

/// @throws value_error  names model, tensor and element
template <class T>
void check_slices(cpu_context& ctx, std::string_view function, const tensor_slices<T>& s) {
  const auto check = [&](const T* x, const std::string& whose) {
    bool bad = false;
    for (index_t i = 0; i < s.size(); ++i) bad |= !(std::fabs(x[i]) <= std::numeric_limits<T>::max());
    if (bad) check::finite(function, whose + ": " + std::string(s.name), vector_view<const T>(x, s.size()));
  };
  const auto models = static_cast<index_t>(s.models.size());
  if (s.base != nullptr) check(s.base, "base");
  ctx.parallel(models, [&](index_t t, int) {
    check(s.models[static_cast<std::size_t>(t)], "models[" + std::to_string(t) + "]");
  });
}

template <class T>
[[nodiscard]] tensor_change change_of(cpu_context& ctx, const tensor_slices<T>& s, const T* out, index_t kept) {
  const T* const from = s.base != nullptr ? s.base : s.models[0];
  const auto models = static_cast<index_t>(s.models.size());
  auto scratch = ctx.workspace().open();
  double* const gram = scratch.template take<double>((models + 1) * (models + 1));
  const T** const all = scratch.template take<const T*>(models + 1);
  std::copy(s.models.begin(), s.models.end(), all);
  all[models] = out;
  const index_t conflicts =
      gram_of_differences<T>(ctx, s.size(), from, {all, s.models.size() + 1}, s.models.size(), gram);
  const auto product = [&](index_t a, index_t b) { return gram[a * (models + 1) + b]; };
  tensor_change change{std::string(s.name), s.size(), {}, std::sqrt(product(models, models))};
  for (index_t t = 0; t < models; ++t) change.vector_norms.push_back(std::sqrt(product(t, t)));
  for (index_t a = 0; a < models; ++a)
    for (index_t b = 0; b < a; ++b) change.mean_cosine += gram_cosine(product(a, a), product(b, b), product(a, b));
  if (models > 1) change.mean_cosine /= static_cast<double>(models * (models - 1) / 2);
  if (s.size() > 0) {
    change.sign_conflicts = static_cast<double>(conflicts) / static_cast<double>(s.size());
    change.kept = static_cast<double>(kept) / static_cast<double>(s.size() * models);
  }
  return change;
}

/// The passes of a rule over whatever `walk` shows it: walk(f) calls f(slices) for every tensor.
template <class Rule, class Walk>
void observe_all(cpu_context& ctx, Rule& rule, Walk&& walk) {
  while (rule.wants_pass()) {
    walk([&](const auto& slices) { rule.observe(ctx, slices); });
    rule.conclude();
  }
}

template <class T, class Array>
[[nodiscard]] tensor_slices<T> slices_of(std::string_view name, const Array& p, std::span<const T* const> models) {
  constexpr bool matrix = Array::rank == 2;
  tensor_slices<T> s{name, 1, p.size(), matrix, nullptr, models, {}};
  if constexpr (matrix) {
    s.rows = p.rows();
    s.cols = p.cols();
  }
  return s;
}

/// Where a rule, which is the host's code, looks at tensors and leaves its results: on the host, where they are.
template <class Backend>
class merge_stage {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/taskvector/merge.cuh> and compile with nvcc");

 public:
  explicit merge_stage(cpu_context& ctx) : ctx_(ctx) {}
  /// For the rule.
  [[nodiscard]] cpu_context& host() { return ctx_; }
  /// f(slices)
  template <class T, class F>
  static void read(const tensor_slices<T>& s, F&& f) {
    f(s);
  }
  /// f(slices, result)
  template <class T, class F>
  static void write(const tensor_slices<T>& s, T* out, F&& f) {
    f(s, out);
  }
  /// All tensors of the result are made, in their order.
  template <class Model>
  static void finish(Model&) {}

 private:
  cpu_context& ctx_;
};

/// With one base or none; importance empty, or one object for each model.
template <class Rule, class Model, class Context, class... Base>
void merge_models(Context& ctx, Rule& rule, std::span<const Model> models, std::span<const Model> importance,
                  Model& out, merge_report* report, const Base&... base) {
  const std::string_view function = rule.name();
  check::require(!models.empty(), function, "models", "none", "1 or more");
  const auto check_apart = [&](const Model& m) {
    check::require(&m != &out, function, "out", "one of the inputs", "an object of its own");
  };
  (check_apart(base), ...);
  for (const Model& m : models) check_apart(m);
  (check_same_extents(function, "base", base, out), ...);
  rule.begin(static_cast<index_t>(models.size()));

  // The models' tensors and, behind them, their importance: one walk shows both.
  const auto walk = [&](auto&& f) {
    for_each_tensor(
        ctx, function, "models", models,
        [&]<class Array>(std::string_view name, auto x, Array& o, const auto&... b) {
          using T = typename Array::value_type;
          tensor_slices<T> s = slices_of<T>(name, o, x);
          ((s.base = b.data()), ...);
          f(s, o.data());
        },
        out, base...);
  };
  const auto walk_with_importance = [&](auto&& f) {
    if (importance.empty()) return walk(f);
    check::length(function, "importance", static_cast<index_t>(importance.size()), static_cast<index_t>(models.size()),
                  "the number of models");
    for (const Model& m : importance) check_apart(m);
    std::vector<std::vector<const void*>> begin(importance.size());
    for (std::size_t t = 0; t < importance.size(); ++t) {
      check_same_extents(function, "importance[" + std::to_string(t) + "]", importance[t],
                         static_cast<const Model&>(out));
      for_each_parameter([&](std::string_view, const auto& p) { begin[t].push_back(p.data()); }, importance[t]);
    }
    std::size_t tensor = 0;
    walk([&]<class T>(tensor_slices<T> s, T* o) {
      std::vector<const T*> of_models;
      for (const auto& b : begin) of_models.push_back(static_cast<const T*>(b[tensor]));
      ++tensor;
      s.importance = of_models;
      f(s, o);
    });
  };
  merge_stage<typename Context::backend> stage(ctx);
  const auto show = [&](auto&& f) { walk_with_importance([&](const auto& s, auto*) { stage.read(s, f); }); };
  show([&](const auto& s) { check_slices(stage.host(), function, s); });
  observe_all(stage.host(), rule, show);
  if (report != nullptr) report->clear();
  walk_with_importance([&]<class T>(const tensor_slices<T>& slices, T* o) {
    stage.write(slices, o, [&](const tensor_slices<T>& s, T* merged) {
      const index_t kept = rule.merge(stage.host(), s, merged);
      if (report != nullptr) report->push_back(change_of(stage.host(), s, static_cast<const T*>(merged), kept));
    });
  });
  stage.finish(out);
}

}  // namespace detail

/// Merges models that were tuned from one base, tensor by tensor, by a rule:
/// `merge(ctx, ties_merging({.density = 0.2}), base, tuned, merged)`.
/// @param rule    of this folder (weighted_average, task_arithmetic, ties_merging, dare, ...), or your own
/// @param tuned   one model or more, of the base's extents
/// @param out     the same extents, overwritten; none of the inputs
/// @param report  what changed, a line for each tensor; null: not wanted
/// Cost: one pass to check, the rule's own, one more for a report. Scratch for the largest tensor times the models.
/// On a device (merge.cuh) the rule runs on the host, on one thread, with the host's bits.
/// The same bits for any number of threads.
/// @throws shape_error  extents   @throws value_error  NaN or infinity in an input, an option of the rule; `out` is
///                      then as it was
template <execution_context Context, merging_rule Rule, class Model>
void merge(Context& ctx, Rule rule, const std::type_identity_t<Model>& base,
           std::span<const std::type_identity_t<Model>> tuned, Model& out, merge_report* report = nullptr) {
  detail::merge_models<Rule, Model>(ctx, rule, tuned, {}, out, report, base);
}

/// The same without a base. The objects are task vectors, and `out` is the merged one; or they are models, for the
/// rules that need no base (weighted_average, slerp).
template <execution_context Context, merging_rule Rule, class Model>
void merge(Context& ctx, Rule rule, std::span<const std::type_identity_t<Model>> models, Model& out,
           merge_report* report = nullptr) {
  detail::merge_models<Rule, Model>(ctx, rule, models, {}, out, report);
}

}  // namespace stroma
