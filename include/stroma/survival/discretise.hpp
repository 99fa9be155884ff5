#pragma once
#include <algorithm>
#include <concepts>

#include <stroma/backend/checks.hpp>
#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/loss.hpp>

namespace stroma {

/// The edge of a bin that belongs to it.
enum class closed_side { left, right };

struct discretise_options {
  closed_side closed = closed_side::left;  ///< bins [edge, next edge), or (edge, next edge]
  bool check_values = true;                ///< finite times of 0 or later, events 0 or 1, edges that never fall
};

namespace detail {

/// The number of edges that lie before a bin's first time.
template <class Edges, class Space>
[[nodiscard]] STROMA_HOST_DEVICE index_t bin_at(double t, const vector_view<const Edges, Space>& edge,
                                                closed_side closed) {
  index_t low = 0, high = edge.size;
  while (low < high) {
    const index_t middle = low + (high - low) / 2;
    const auto e = static_cast<double>(edge[middle]);
    if (e < t || (e == t && closed == closed_side::left)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/// Edges with the ends of the first bin and the last: what part of a bin has gone by at a time.
template <class Edges, class Space>
struct bin_scale {
  vector_view<const Edges, Space> edge;
  double last;

  [[nodiscard]] STROMA_HOST_DEVICE double part(double t, index_t bin) const {
    const double begin = bin == 0 ? 0 : static_cast<double>(edge[bin - 1]);
    const double end = bin < edge.size ? static_cast<double>(edge[bin]) : last;
    if (!(t < end)) return 1;
    return t > begin ? (t - begin) / (end - begin) : 0;
  }
};

/// What every loss of bins asks of its arguments.
template <class Context, class T, class Space, class Bins, class Events>
void check_binned(Context& ctx, std::string_view name, matrix_view<const T, Space> logit, const Bins& bin,
                  const Events& event, bool check_values) {
  using checks = value_checks<typename Context::backend>;
  check::length(name, "bin", bin.size, logit.rows, "the rows of logit");
  check::length(name, "event", event.size, logit.rows, "the rows of logit");
  if (!check_values) return;
  checks::finite(ctx, name, "logit", logit);
  checks::labels(ctx, name, "bin", bin, logit.cols);
  checks::event_flags(ctx, name, "event", event);
}

template <class Backend>
struct discretise_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/discretise.cuh> and compile with nvcc");

  template <class Times, class Edges, class Bins>
  static void run(cpu_context&, vector_view<const Times> time, vector_view<const Edges> edge, closed_side closed,
                  vector_view<Bins> bin) {
    for (index_t i = 0; i < time.size; ++i)
      bin[i] = static_cast<Bins>(bin_at(static_cast<double>(time[i]), edge, closed));
  }
  template <class Times, class Edges, class Bins, class Parts>
  static void parts(cpu_context&, vector_view<const Times> time, const bin_scale<Edges, host_space>& scale,
                    vector_view<const Bins> bin, vector_view<Parts> part) {
    for (index_t i = 0; i < time.size; ++i)
      part[i] = static_cast<Parts>(scale.part(static_cast<double>(time[i]), static_cast<index_t>(bin[i])));
  }

  template <class Times, class Events, class Edges>
  static void quantiles(cpu_context& ctx, vector_view<const Times> time, vector_view<const Events> event,
                        vector_view<Edges> edge) {
    auto scratch = ctx.workspace().open();
    auto* const observed = scratch.template take<double>(time.size);
    index_t count = 0;
    for (index_t i = 0; i < time.size; ++i)
      if (event[i] != Events(0)) observed[count++] = static_cast<double>(time[i]);
    if (count == 0)
      throw value_error(error_message("quantile_edges", "event", "none observed", "at least one observed event"));
    std::sort(observed, observed + count);
    for (index_t b = 0; b < edge.size; ++b) {
      const double at = static_cast<double>((count - 1) * (b + 1)) / static_cast<double>(edge.size + 1);
      const auto below = static_cast<index_t>(at);
      const index_t above = std::min(below + 1, count - 1);
      const double rest = at - static_cast<double>(below);
      edge[b] = static_cast<Edges>(observed[below] + rest * (observed[above] - observed[below]));
    }
  }

  template <class Edges>
  static void equal_widths(cpu_context&, double last, vector_view<Edges> edge) {
    for (index_t b = 0; b < edge.size; ++b)
      edge[b] = static_cast<Edges>(last * static_cast<double>(b + 1) / static_cast<double>(edge.size + 1));
  }
};

}  // namespace detail

/// Inner edges of bins of one width: edge_b = last (b + 1) / bins. STEPH's: 31 edges, last = 11680 days.
/// @param last the end of the last bin, above 0, in the unit of time   @param edge [bins - 1], overwritten
/// @throws value_error
template <execution_context Context, vector_like Edges>
  requires same_space<Context, Edges>
void equal_width_edges(Context& ctx, double last, Edges&& edge) {
  check::positive("equal_width_edges", "last", last);
  detail::discretise_kernel<typename Context::backend>::equal_widths(ctx, last, as_view(edge));
}

/// Inner edges of bins that hold equally many observed events: quantiles (b + 1) / bins of their times, linear between
/// two of them. Ties can make edges equal, and the bins between them empty.
/// @param time [N]   @param event [N] 1 observed, 0 censored   @param edge [bins - 1], overwritten
/// Cost: O(N log N) time, O(N) scratch.   @throws shape_error, value_error (no event)
template <execution_context Context, vector_like Times, vector_like Events, vector_like Edges>
  requires same_space<Context, Times, Events, Edges>
void quantile_edges(Context& ctx, const Times& time, const Events& event, Edges&& edge,
                    const discretise_options& options = {}) {
  constexpr auto name = "quantile_edges";
  const auto t = as_const_view(time);
  const auto e = as_const_view(event);
  check::same_length(name, "event", e, "time", t);
  using checks = value_checks<typename Context::backend>;
  if (options.check_values) {
    checks::follow_up(ctx, name, "time", t);
    checks::event_flags(ctx, name, "event", e);
  }
  detail::discretise_kernel<typename Context::backend>::quantiles(ctx, t, e, as_view(edge));
}

/// The bin of each time: the number of edges that are not later, or with bins closed on the right those that are
/// earlier. The first bin begins at 0 and the last never ends.
/// @param time [N]   @param edge [bins - 1] rising, in the unit of time   @param bin [N] whole numbers, overwritten
/// Cost: O(N log bins), no scratch.   @throws shape_error, value_error
template <execution_context Context, vector_like Times, vector_like Edges, vector_like Bins>
  requires same_space<Context, Times, Edges, Bins> && std::integral<scalar_of<Bins>>
void discretise(Context& ctx, const Times& time, const Edges& edge, Bins&& bin,
                const discretise_options& options = {}) {
  constexpr auto name = "discretise";
  const auto t = as_const_view(time);
  const auto e = as_const_view(edge);
  const auto b = as_view(bin);
  check::same_length(name, "bin", b, "time", t);
  using checks = value_checks<typename Context::backend>;
  if (options.check_values) {
    checks::follow_up(ctx, name, "time", t);
    checks::rising(ctx, name, "edge", e);
  }
  detail::discretise_kernel<typename Context::backend>::run(ctx, t, e, options.closed, b);
}

/// The part of its bin that each patient lived, from 0 at the bin's begin to 1 at its end or later.
///
/// part = (time - edge_bin-1) / (edge_bin - edge_bin-1), the first bin from 0, the last until `last`
///
/// @param time [N]   @param edge [bins - 1] as of discretise   @param last the end of the last bin, after the last edge
/// @param bin [N] of discretise   @param part [N], overwritten
/// Cost: O(N), no scratch.   @throws shape_error, value_error
template <execution_context Context, vector_like Times, vector_like Edges, vector_like Bins, vector_like Parts>
  requires same_space<Context, Times, Edges, Bins, Parts> && std::integral<scalar_of<Bins>>
void lived_part(Context& ctx, const Times& time, const Edges& edge, double last, const Bins& bin, Parts&& part,
                const discretise_options& options = {}) {
  constexpr auto name = "lived_part";
  const auto t = as_const_view(time);
  const auto e = as_const_view(edge);
  const auto b = as_const_view(bin);
  const auto p = as_view(part);
  check::same_length(name, "bin", b, "time", t);
  check::same_length(name, "part", p, "time", t);
  check::positive(name, "last", last);
  using checks = value_checks<typename Context::backend>;
  if (options.check_values) {
    checks::follow_up(ctx, name, "time", t);
    checks::rising(ctx, name, "edge", e);
    checks::labels(ctx, name, "bin", b, e.size + 1);
  }
  using scale = detail::bin_scale<scalar_of<Edges>, typename Context::space>;
  detail::discretise_kernel<typename Context::backend>::parts(ctx, t, scale{e, last}, b, p);
}

}  // namespace stroma
