#pragma once
#include <algorithm>
#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <stroma/backend/checks.hpp>
#include <stroma/core/array.hpp>
#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/half.hpp>
#include <stroma/core/loss.hpp>

namespace stroma {

struct risk_order_options {
  bool check_values = true;  ///< finite times of 0 or later, events 0 or 1, finite weights of 0 or more
};

namespace detail {

/// An unsigned number that orders as the double does. -0 equals 0, and NaN has a place too, so that sorting stays
/// well defined when values are not checked.
[[nodiscard]] STROMA_HOST_DEVICE constexpr std::uint64_t ordered_key(double x) {
  const auto bits = bits_as<std::uint64_t>(x + 0.0);
  return (bits >> 63) != 0 ? ~bits : bits | (std::uint64_t{1} << 63);
}

struct keyed_row {
  std::uint64_t key;
  index_t row;
  friend constexpr bool operator<(const keyed_row& a, const keyed_row& b) {
    return a.key != b.key ? a.key < b.key : a.row < b.row;
  }
};

/// Sorts by key; equal keys keep their order. By digits of 11 bits, from the lowest, each pass from one array into the
/// other; a digit that all keys share costs no pass (float times have 29 zero bits). Returns the array that holds the
/// result. `counts` has room for 6 x 2048.
inline keyed_row* sort_by_key(keyed_row* rows, keyed_row* spare, index_t n, index_t* counts) {
  constexpr index_t passes = 6, digits = 2048;
  if (n <= 512) {  // clearing the counts would take longer
    for (index_t i = 0; i < n; ++i) spare[i] = {rows[i].key, i};
    std::sort(spare, spare + n);
    for (index_t i = 0; i < n; ++i) spare[i].row = rows[spare[i].row].row;
    return spare;
  }
  const auto digit = [](std::uint64_t key, index_t pass) {
    return static_cast<index_t>((key >> (11 * pass)) % digits);
  };
  std::fill(counts, counts + passes * digits, index_t{0});
  for (index_t i = 0; i < n; ++i)
    for (index_t p = 0; p < passes; ++p) ++counts[p * digits + digit(rows[i].key, p)];
  for (index_t p = 0; p < passes; ++p) {
    index_t* const to = counts + p * digits;
    if (to[digit(rows[0].key, p)] == n) continue;
    index_t begin = 0;
    for (index_t d = 0; d < digits; ++d) begin += std::exchange(to[d], begin);
    for (index_t i = 0; i < n; ++i) spare[to[digit(rows[i].key, p)]++] = rows[i];
    std::swap(rows, spare);
  }
  return rows;
}

/// Patients from the latest time to the earliest. Who shares a time forms a group: censored rows first, then deaths,
/// each by row number. Walking forward, the rows before a group's end are those at risk at its time.
template <class Space>
struct risk_plan {
  index_t rows{}, groups{}, events{};
  const index_t* row{};     ///< [rows] which patient stands at a position
  const index_t* first{};   ///< [groups + 1] position at which a group begins
  const index_t* deaths{};  ///< [groups] position of its first death; first[g + 1] where it has none
  const double* weight{};   ///< [rows] by position, or null: all 1
};

struct risk_counts {
  index_t groups, events;
};
/// On a device the host does not know how many groups there are: kernels are started for as many as rows.
template <>
struct risk_plan<device_space> {
  index_t rows{};
  const index_t *row{}, *first{}, *deaths{};
  const double* weight{};
  const index_t* group{};       ///< [rows] the group of a position
  const risk_counts* counts{};  ///< one, on the device
};

/// Where a plan is written: room for as many groups as rows.
struct risk_plan_memory {
  index_t *row, *first, *deaths;
  double* weight;
  index_t* group{};  ///< for a device, and so the counts
  risk_counts* counts{};
};

template <class Backend>
struct risk_order_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/risk_order.cuh> and compile with nvcc");

  /// An empty `weight` means that all count 1.
  template <class Times, class Events, class Weights>
  static risk_plan<host_space> run(cpu_context& ctx, vector_view<const Times> time, vector_view<const Events> event,
                                   vector_view<const Weights> weight, const risk_plan_memory& to) {
    const index_t n = time.size;
    auto scratch = ctx.workspace().open();
    auto* const unsorted = scratch.template take<keyed_row>(n);
    auto* const spare = scratch.template take<keyed_row>(n);
    auto* const counts = scratch.template take<index_t>(6 * 2048);
    index_t groups = 0, events = 0, filled = 0;
    for (const bool deaths : {false, true})  // equal times keep this order: the censored first
      for (index_t i = 0; i < n; ++i)
        if ((event[i] != Events(0)) == deaths)
          unsorted[filled++] = {~ordered_key(widen<double>(time[i])), deaths ? i + n : i};
    const keyed_row* const rows = sort_by_key(unsorted, spare, n, counts);
    for (index_t k = 0; k < n;) {
      to.first[groups] = k;
      const std::uint64_t key = rows[k].key;
      for (; k < n && rows[k].key == key && rows[k].row < n; ++k) to.row[k] = rows[k].row;
      to.deaths[groups++] = k;
      for (; k < n && rows[k].key == key; ++k) to.row[k] = rows[k].row - n;
      events += k - to.deaths[groups - 1];
    }
    to.first[groups] = n;
    for (index_t k = 0; k < weight.size; ++k) to.weight[k] = widen<double>(weight[to.row[k]]);
    return {n, groups, events, to.row, to.first, to.deaths, weight.size != 0 ? to.weight : nullptr};
  }
};

template <class Context>
using plan_of = risk_plan<typename Context::space>;

template <class Context, class Times, class Events, class Weights>
void check_follow_up(Context& ctx, std::string_view function, const Times& time, const Events& event,
                     const Weights& weight, bool check_values) {
  check::same_length(function, "event", event, "time", time);
  if (weight.size != 0) check::same_length(function, "weight", weight, "time", time);
  using checks = value_checks<typename Context::backend>;
  if (!check_values) return;
  checks::follow_up(ctx, function, "time", time);
  checks::event_flags(ctx, function, "event", event);
  checks::weights(ctx, function, "weight", weight);
}

/// A plan in scratch memory, for calls that are given times and events.
template <class Context, class Frame, class Times, class Events>
[[nodiscard]] plan_of<Context> scratch_plan(Context& ctx, Frame& scratch, const Times& time, const Events& event) {
  risk_plan_memory to{scratch.template take<index_t>(time.size), scratch.template take<index_t>(time.size + 1),
                      scratch.template take<index_t>(time.size), nullptr};
  if constexpr (!std::same_as<typename Context::space, host_space>) {
    to.group = scratch.template take<index_t>(time.size);
    to.counts = scratch.template take<risk_counts>(1);
  }
  return risk_order_kernel<typename Context::backend>::run(ctx, time, event,
                                                           vector_view<const double, typename Context::space>{}, to);
}

}  // namespace detail

/// A cohort's follow-up, sorted once: by time, ties grouped, the censored of a time apart from its deaths. Losses and
/// metrics on the same patients take it instead of times and events and save the sort; case weights belong to it too.
///
/// `risk_order order(ctx, time, event);`   `order.remake(ctx, time, event, weight);`
///
/// @param time [N] of follow-up, any unit   @param event [N] 1 observed, 0 censored
/// @param weight [N] of each patient; one of weight 0 counts as absent, and without weights all count 1
/// Cost: O(N log N) time, O(N) memory, taken again only when N grows. The same order from run to run.
/// @throws shape_error, value_error
template <class Backend = backend::cpu>
class risk_order {
  static constexpr bool on_host = std::same_as<typename Backend::space, host_space>;

 public:
  using space = typename Backend::space;

  risk_order() = default;
  template <execution_context Context, vector_like Times, vector_like Events>
    requires same_space<Context, Times, Events> && std::same_as<typename Context::backend, Backend>
  risk_order(Context& ctx, const Times& time, const Events& event, const risk_order_options& options = {}) {
    remake(ctx, time, event, options);
  }
  template <execution_context Context, vector_like Times, vector_like Events, vector_like Weights>
    requires same_space<Context, Times, Events, Weights> && std::same_as<typename Context::backend, Backend>
  risk_order(Context& ctx, const Times& time, const Events& event, const Weights& weight,
             const risk_order_options& options = {}) {
    remake(ctx, time, event, weight, options);
  }

  /// Another cohort, or the same one later, in the same memory.
  template <execution_context Context, vector_like Times, vector_like Events>
    requires same_space<Context, Times, Events> && std::same_as<typename Context::backend, Backend>
  void remake(Context& ctx, const Times& time, const Events& event, const risk_order_options& options = {}) {
    make(ctx, as_const_view(time), as_const_view(event), vector_view<const double, space>{}, options);
  }
  template <execution_context Context, vector_like Times, vector_like Events, vector_like Weights>
    requires same_space<Context, Times, Events, Weights> && std::same_as<typename Context::backend, Backend>
  void remake(Context& ctx, const Times& time, const Events& event, const Weights& weight,
              const risk_order_options& options = {}) {
    const auto w = as_const_view(weight);
    check::same_length("risk_order", "weight", w, "time", as_const_view(time));
    make(ctx, as_const_view(time), as_const_view(event), w, options);
  }

  [[nodiscard]] index_t size() const noexcept { return rows_; }  ///< patients
  /// Observed among them.
  [[nodiscard]] index_t events() const noexcept
    requires on_host
  {
    return counts_.events;
  }
  /// Distinct times.
  [[nodiscard]] index_t groups() const noexcept
    requires on_host
  {
    return counts_.groups;
  }
  /// The same of any backend; a device is waited for.
  template <execution_context Context>
    requires std::same_as<typename Context::space, space>
  [[nodiscard]] index_t events(Context& ctx) const {
    return read_counts(ctx).events;
  }
  template <execution_context Context>
    requires std::same_as<typename Context::space, space>
  [[nodiscard]] index_t groups(Context& ctx) const {
    return read_counts(ctx).groups;
  }
  [[nodiscard]] bool weighted() const noexcept { return weighted_; }
  /// Patients from the latest time to the earliest; of one time the censored first.
  [[nodiscard]] vector_view<const index_t, space> rows() const { return {row_.data(), rows_}; }

  /// What algorithms walk over.
  [[nodiscard]] detail::risk_plan<space> plan() const noexcept {
    const double* const weight = weighted_ ? weight_.data() : nullptr;
    if constexpr (on_host)
      return {rows_, counts_.groups, counts_.events, row_.data(), first_.data(), deaths_.data(), weight};
    else return {rows_, row_.data(), first_.data(), deaths_.data(), weight, group_.data(), counts_.data()};
  }

 private:
  template <class Context, class Times, class Events, class Weights>
  void make(Context& ctx, const Times& time, const Events& event, const Weights& weight,
            const risk_order_options& options) {
    detail::check_follow_up(ctx, "risk_order", time, event, weight, options.check_values);
    if (first_.size() < time.size + 1) {
      row_ = array<index_t, 1, space>(time.size);
      deaths_ = array<index_t, 1, space>(time.size);
      first_ = array<index_t, 1, space>(time.size + 1);
      if constexpr (!on_host) {
        group_ = array<index_t, 1, space>(time.size);
        if (counts_.size() == 0) counts_ = counts_type(1);
      }
    }
    if (weight_.size() < weight.size) weight_ = array<double, 1, space>(weight.size);
    detail::risk_plan_memory to{row_.data(), first_.data(), deaths_.data(), weight_.data()};
    if constexpr (!on_host) {
      to.group = group_.data();
      to.counts = counts_.data();
    }
    const auto plan = detail::risk_order_kernel<Backend>::run(ctx, time, event, weight, to);
    if constexpr (on_host) counts_ = {plan.groups, plan.events};
    rows_ = plan.rows;
    weighted_ = weight.size != 0;
  }
  template <class Context>
  [[nodiscard]] detail::risk_counts read_counts(Context& ctx) const {
    if constexpr (on_host) return counts_;
    else if (counts_.size() == 0) return {0, 0};  // never made
    else return detail::risk_order_kernel<Backend>::read(ctx, counts_.data());
  }

  using counts_type = std::conditional_t<on_host, detail::risk_counts, array<detail::risk_counts, 1, space>>;
  array<index_t, 1, space> row_, first_, deaths_, group_;
  array<double, 1, space> weight_;
  counts_type counts_{};
  index_t rows_ = 0;
  bool weighted_ = false;
};

template <execution_context Context, vector_like Times, vector_like Events>
risk_order(Context&, const Times&, const Events&, const risk_order_options& = {})
    -> risk_order<typename Context::backend>;
template <execution_context Context, vector_like Times, vector_like Events, vector_like Weights>
risk_order(Context&, const Times&, const Events&, const Weights&, const risk_order_options& = {})
    -> risk_order<typename Context::backend>;

}  // namespace stroma
