#pragma once
#include <algorithm>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include <stroma/backend/checks.hpp>
#include <stroma/core/array.hpp>
#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/half.hpp>
#include <stroma/core/loss.hpp>
#include <stroma/core/number_view.hpp>
#include <stroma/survival/detail/key_sort.hpp>

namespace stroma {

/// A patient's number in a cohort. Narrow, for every use of an order reads one for each patient.
using row_number = std::int32_t;

/// What a cohort may have besides times and events. Each column is a vector of any numbers, one a patient, or absent.
template <class Space = host_space>
struct risk_order_options {
  number_view<Space> weight{};   ///< of a patient, 0 or more; one of weight 0 counts as absent
  number_view<Space> entry{};    ///< when a patient came under observation, before its time: at risk in (entry, time]
  number_view<Space> stratum{};  ///< label of its stratum, any finite number: risk sets and pairs never cross strata
  bool check_values = true;      ///< finite times of 0 or later, events 0 or 1, and the columns as said here
};

namespace detail {

/// What a position is, in bits.
namespace risk_mark {
enum : std::uint8_t { death = 1, first_death = 2, last_death = 4, alone = 7 };  ///< of its group
}

/// Strata one after another; in each, patients from the latest time to the earliest. Who shares stratum and time forms
/// a group: censored rows first, then deaths, each by row number. Walking forward in a stratum, the rows before a
/// group's end are those that were followed to its time; they are at risk but for those that enter later.
template <class Space>
struct risk_plan {
  index_t rows{}, groups{}, strata{}, events{};
  const row_number* row{};   ///< [rows] which patient stands at a position
  const index_t* first{};    ///< [groups + 1] position at which a group begins
  const index_t* deaths{};   ///< [groups] position of its first death; first[g + 1] where it has none
  const double* time{};      ///< [groups]
  const index_t* stratum{};  ///< [strata + 1] group at which a stratum begins
  const double* weight{};    ///< [rows] by position, or null: all 1
  const index_t* group{};    ///< [rows] of a position
  /// [rows] by position: the first group, going on from its own, at which it is not at risk, for it enters at that time
  /// or later; the end of its stratum where there is none. Null: nobody enters late.
  const index_t* until{};
  const std::uint8_t* mark{};  ///< [rows] bits of risk_mark
};

struct risk_counts {
  index_t groups, strata, events;
};
/// On a device the host does not know how many groups there are: kernels are started for as many as rows.
template <>
struct risk_plan<device_space> {
  index_t rows{};
  const row_number* row{};
  const index_t *first{}, *deaths{};
  const double* time{};
  const index_t* stratum{};  ///< [strata + 1]
  const double* weight{};
  const index_t *group{}, *until{};
  const index_t* stratum_of{};  ///< [rows] by group; null: one stratum
  const risk_counts* counts{};  ///< one, on the device
};

/// Which optional columns a cohort has.
struct risk_columns {
  bool weight{}, entry{}, stratum{};
};
/// Where a plan is written: room for as many groups, and with strata as many of them, as rows.
struct risk_plan_memory {
  row_number* row;
  index_t *first, *deaths, *group, *stratum, *until;
  double *time, *weight;
  index_t* stratum_of;  ///< for a device, and so the counts
  risk_counts* counts;
  std::uint8_t* mark;  ///< for the host

  /// Taken piece by piece: take(T*& piece, index_t count). What is not needed stays null.
  template <class Space, class Take>
  static risk_plan_memory in(index_t rows, const risk_columns& has, const Take& take) {
    constexpr bool on_device = std::same_as<Space, device_space>;
    risk_plan_memory to{};
    const auto piece = [&](auto*& of, index_t count) {
      if (count > 0) take(of, count);
    };
    piece(to.row, rows);
    piece(to.first, rows + 1);
    piece(to.deaths, rows);
    piece(to.group, rows);
    piece(to.stratum, has.stratum ? rows + 1 : 2);
    piece(to.until, has.entry ? rows : 0);
    piece(to.time, rows);
    piece(to.weight, has.weight ? rows : 0);
    piece(to.stratum_of, on_device && has.stratum ? rows : 0);
    piece(to.counts, on_device ? 1 : 0);
    piece(to.mark, on_device ? 0 : rows);
    return to;
  }
};

template <class Backend>
struct risk_order_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/risk_order.cuh> and compile with nvcc");

  template <class Times, class Events>
  static risk_plan<host_space> run(cpu_context& ctx, vector_view<const Times> time, vector_view<const Events> event,
                                   const risk_order_options<>& columns, const risk_plan_memory& to) {
    const index_t n = time.size;
    auto scratch = ctx.workspace().open();
    const keyed_row* const rows = sorted_rows(ctx, time, event, columns.stratum, scratch.template take<keyed_row>(n),
                                              scratch.template take<keyed_row>(n));
    const bool stratified = columns.stratum.size != 0;
    index_t groups = 0, strata = 0, events = 0, first = 0, deaths = 0;
    std::uint64_t time_before = 0, stratum_before = 0;
    bool died_before = false;
    for (index_t k = 0; k < n; ++k) {
      // Whether a row begins a group is hard to foresee: a group's entries are written again by each of its rows.
      const bool died = rows[k].row >= n;
      const index_t row = died ? rows[k].row - n : rows[k].row;
      const std::uint64_t at = stratified ? ~sort_key(widen<double>(time[row])) : rows[k].key;
      const std::uint64_t stratum = stratified ? rows[k].key : 0;
      const bool new_stratum = k == 0 || stratum != stratum_before, begins = new_stratum || at != time_before;
      if (new_stratum) to.stratum[strata++] = groups;
      groups += begins ? 1 : 0;
      first = begins ? k : first;
      deaths = (begins ? k : deaths) + (died ? 0 : 1);
      events += died ? 1 : 0;
      const index_t g = groups - 1;
      to.first[g] = first;
      to.deaths[g] = deaths;
      to.time[g] = number_of_key(~at);
      to.group[k] = g;
      to.row[k] = static_cast<row_number>(row);
      to.mark[k] = died ? (k == deaths ? risk_mark::death | risk_mark::first_death : risk_mark::death) : 0;
      to.mark[k > 0 ? k - 1 : 0] |= begins && died_before ? risk_mark::last_death : 0;
      time_before = at;
      stratum_before = stratum;
      died_before = died;
    }
    if (died_before) to.mark[n - 1] |= risk_mark::last_death;
    to.first[groups] = n;
    to.stratum[strata] = groups;
    for (index_t k = 0; k < columns.weight.size; ++k) to.weight[k] = columns.weight[to.row[k]];
    for (index_t s = 0; s < strata && columns.entry.size != 0; ++s)
      for (index_t k = to.first[to.stratum[s]]; k < to.first[to.stratum[s + 1]]; ++k)
        to.until[k] = std::partition_point(to.time + to.group[k] + 1, to.time + to.stratum[s + 1],
                                           [entry = columns.entry[to.row[k]]](double at) { return at > entry; }) -
                      to.time;
    return {n,       groups,     strata,    events,   to.row,   to.first, to.deaths,
            to.time, to.stratum, to.weight, to.group, to.until, to.mark};
  }

 private:
  /// By stratum, then from the latest time, then the censored before the deaths, then by row. Deaths carry row + n.
  template <class Times, class Events>
  static keyed_row* sorted_rows(cpu_context& ctx, vector_view<const Times> time, vector_view<const Events> event,
                                const number_view<>& stratum, keyed_row* rows, keyed_row* spare) {
    const index_t n = time.size;
    auto scratch = ctx.workspace().open();
    auto* const counts = scratch.template take<index_t>(sort_counts * ctx.threads());
    index_t next[2] = {0, 0};  // of the censored and of the deaths, who follow them: equal times keep this order
    for (index_t i = 0; i < n; ++i) next[1] += event[i] != Events(0) ? 0 : 1;
    for (index_t i = 0; i < n; ++i) {
      const bool died = event[i] != Events(0);
      rows[next[died ? 1 : 0]++] = {~sort_key(widen<double>(time[i])), died ? i + n : i};
    }
    keyed_row* sorted = sort_by_key(ctx, rows, spare, n, counts);
    if (stratum.size == 0) return sorted;
    for (index_t k = 0; k < n; ++k)
      sorted[k].key = sort_key(stratum[sorted[k].row < n ? sorted[k].row : sorted[k].row - n]);
    return sort_by_key(ctx, sorted, sorted == rows ? spare : rows, n, counts);
  }
};

template <class Context>
using plan_of = risk_plan<typename Context::space>;

template <class Context, class Times, class Events>
void check_follow_up(Context& ctx, std::string_view function, const Times& time, const Events& event,
                     const risk_order_options<typename Context::space>& columns) {
  check::same_length(function, "event", event, "time", time);
  constexpr index_t most = std::numeric_limits<row_number>::max();
  check::require(time.size <= most, function, "time", std::to_string(time.size), "at most 2147483647 patients");
  const auto same_length = [&](std::string_view name, const auto& column) {
    if (column.size != 0) check::same_length(function, name, column, "time", time);
  };
  same_length("weight", columns.weight);
  same_length("entry", columns.entry);
  same_length("stratum", columns.stratum);
  using checks = value_checks<typename Context::backend>;
  if (!columns.check_values) return;
  checks::follow_up(ctx, function, "time", time);
  checks::event_flags(ctx, function, "event", event);
  checks::weights(ctx, function, "weight", columns.weight);
  checks::entries(ctx, function, "entry", columns.entry, time);
  checks::finite(ctx, function, "stratum", columns.stratum);
}

/// A plan in scratch memory, for calls that are given times and events.
template <class Context, class Frame, class Times, class Events>
[[nodiscard]] plan_of<Context> scratch_plan(Context& ctx, Frame& scratch, const Times& time, const Events& event) {
  const risk_order_options<typename Context::space> no_columns;
  const auto to = risk_plan_memory::in<typename Context::space>(
      time.size, {}, [&]<class T>(T*& piece, index_t count) { piece = scratch.template take<T>(count); });
  return risk_order_kernel<typename Context::backend>::run(ctx, time, event, no_columns, to);
}

}  // namespace detail

/// A cohort's follow-up, sorted once: by stratum and time, ties grouped, the censored of a time apart from its deaths.
/// Losses, curves and metrics on the same patients take it instead of times and events and save the sort; weights,
/// strata and late entry belong to it.
///
/// `risk_order order(ctx, time, event);`
/// `risk_order order(ctx, time, event, {.weight = w, .entry = since, .stratum = hospital});`
///
/// @param time [N] of follow-up, any unit   @param event [N] 1 observed, 0 censored
/// @param options weight, entry, stratum: each [N] or absent
/// Cost: O(N log N) time, O(N) memory, taken again only when N grows. The same order from run to run.
/// @throws shape_error, value_error; the order that was there stays
template <class Backend = backend::cpu>
class risk_order {
  static constexpr bool on_host = std::same_as<typename Backend::space, host_space>;

 public:
  using space = typename Backend::space;
  using options_type = risk_order_options<space>;

  risk_order() = default;
  template <execution_context Context, vector_like Times, vector_like Events>
    requires same_space<Context, Times, Events> && std::same_as<typename Context::backend, Backend>
  risk_order(Context& ctx, const Times& time, const Events& event, const options_type& options = {}) {
    remake(ctx, time, event, options);
  }

  /// Another cohort, or the same one later, in the same memory.
  template <execution_context Context, vector_like Times, vector_like Events>
    requires same_space<Context, Times, Events> && std::same_as<typename Context::backend, Backend>
  void remake(Context& ctx, const Times& time, const Events& event, const options_type& options = {}) {
    const auto t = as_const_view(time);
    const auto e = as_const_view(event);
    detail::check_follow_up(ctx, "risk_order", t, e, options);
    rows_ = t.size;
    has_ = {options.weight.size != 0, options.entry.size != 0, options.stratum.size != 0};
    index_t whole = 0, real = 0;
    (void)detail::risk_plan_memory::in<space>(rows_, has_, [&]<class T>(T*&, index_t count) {
      if constexpr (std::same_as<T, index_t>) whole += count;
      if constexpr (std::same_as<T, double>) real += count;
    });
    if (whole_.size() < whole) whole_ = array<index_t, 1, space>(whole);
    if (real_.size() < real) real_ = array<double, 1, space>(real);
    if (row_.size() < rows_) row_ = array<row_number, 1, space>(rows_);
    if (on_host && mark_.size() < rows_) mark_ = array<std::uint8_t, 1, space>(rows_);
    if constexpr (!on_host)
      if (counts_.size() == 0) counts_ = counts_type(1);
    const auto plan = detail::risk_order_kernel<Backend>::run(ctx, t, e, options, memory());
    if constexpr (on_host) counts_ = {plan.groups, plan.strata, plan.events};
  }

  /// The same patients with other weights, [N] of 0 or more: nothing is sorted. O(N).
  /// @throws shape_error, value_error; the weights that were there stay
  template <execution_context Context>
    requires std::same_as<typename Context::backend, Backend> && on_host
  void reweigh(Context& ctx, const number_view<space>& weight) {
    check::length("risk_order::reweigh", "weight", weight.size, rows_, "the length of the order");
    value_checks<Backend>::weights(ctx, "risk_order::reweigh", "weight", weight);
    if (!has_.weight) {
      array<double, 1, space> real(2 * rows_);
      std::copy_n(memory().time, rows_, real.data());
      real_ = std::move(real);
      has_.weight = true;
    }
    const auto to = memory();
    for (index_t k = 0; k < rows_; ++k) to.weight[k] = weight[to.row[k]];
  }

  [[nodiscard]] index_t size() const noexcept { return rows_; }  ///< patients
  /// Observed among them.
  [[nodiscard]] index_t events() const noexcept
    requires on_host
  {
    return counts_.events;
  }
  /// Distinct times, counted in each stratum.
  [[nodiscard]] index_t groups() const noexcept
    requires on_host
  {
    return counts_.groups;
  }
  [[nodiscard]] index_t strata() const noexcept
    requires on_host
  {
    return counts_.strata;
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
  template <execution_context Context>
    requires std::same_as<typename Context::space, space>
  [[nodiscard]] index_t strata(Context& ctx) const {
    return read_counts(ctx).strata;
  }
  [[nodiscard]] bool weighted() const noexcept { return has_.weight; }
  [[nodiscard]] bool late_entry() const noexcept { return has_.entry; }
  [[nodiscard]] bool stratified() const noexcept { return has_.stratum; }
  /// Patients, stratum by stratum, from the latest time to the earliest; of one time the censored first.
  [[nodiscard]] vector_view<const row_number, space> rows() const { return {memory().row, rows_}; }

  /// What algorithms walk over.
  [[nodiscard]] detail::risk_plan<space> plan() const noexcept {
    const auto at = memory();
    if constexpr (on_host)
      return {rows_,   counts_.groups, counts_.strata, counts_.events, at.row,   at.first, at.deaths,
              at.time, at.stratum,     at.weight,      at.group,       at.until, at.mark};
    else
      return {rows_,     at.row,   at.first, at.deaths,     at.time,       at.stratum,
              at.weight, at.group, at.until, at.stratum_of, counts_.data()};
  }

 private:
  /// The pieces of the arrays. A plan shows them read-only.
  [[nodiscard]] detail::risk_plan_memory memory() const noexcept {
    if (whole_.size() == 0) return {};  // never made
    auto* whole = const_cast<index_t*>(whole_.data());
    auto* real = const_cast<double*>(real_.data());
    return detail::risk_plan_memory::in<space>(rows_, has_, [&]<class T>(T*& piece, index_t count) {
      if constexpr (std::same_as<T, index_t>) piece = std::exchange(whole, whole + count);
      else if constexpr (std::same_as<T, double>) piece = std::exchange(real, real + count);
      else if constexpr (std::same_as<T, row_number>) piece = const_cast<row_number*>(row_.data());
      else if constexpr (std::same_as<T, std::uint8_t>) piece = const_cast<std::uint8_t*>(mark_.data());
      else if constexpr (!on_host) piece = const_cast<detail::risk_counts*>(counts_.data());
    });
  }
  template <class Context>
  [[nodiscard]] detail::risk_counts read_counts(Context& ctx) const {
    if constexpr (on_host) return counts_;
    else if (counts_.size() == 0) return {0, 0, 0};  // never made
    else return detail::risk_order_kernel<Backend>::read(ctx, counts_.data());
  }

  using counts_type = std::conditional_t<on_host, detail::risk_counts, array<detail::risk_counts, 1, space>>;
  array<index_t, 1, space> whole_;
  array<double, 1, space> real_;
  array<row_number, 1, space> row_;
  array<std::uint8_t, 1, space> mark_;
  counts_type counts_{};
  index_t rows_ = 0;
  detail::risk_columns has_;
};

template <execution_context Context, vector_like Times, vector_like Events>
risk_order(Context&, const Times&, const Events&, const risk_order_options<typename Context::space>& = {})
    -> risk_order<typename Context::backend>;

}  // namespace stroma
