#pragma once
#include <stroma/backend/cuda/checks.cuh>
#include <stroma/backend/cuda/sort.cuh>
#include <stroma/survival/discretise.hpp>
#include <stroma/survival/risk_order.cuh>

namespace stroma::detail {

template <class Times, class Edges, class Bins>
struct find_bins {
  vector_view<const Times, device_space> time;
  vector_view<const Edges, device_space> edge;
  closed_side closed;
  vector_view<Bins, device_space> bin;
  __device__ void operator()(index_t i) const {
    bin[i] = static_cast<Bins>(bin_at(static_cast<double>(time[i]), edge, closed));
  }
};
template <class Times, class Edges, class Bins, class Parts>
struct find_parts {
  vector_view<const Times, device_space> time;
  bin_scale<Edges, device_space> scale;
  vector_view<const Bins, device_space> bin;
  vector_view<Parts, device_space> part;
  __device__ void operator()(index_t i) const {
    const index_t b = clamped_label(bin[i], scale.edge.size + 1);
    part[i] = static_cast<Parts>(scale.part(static_cast<double>(time[i]), b));
  }
};

template <class Times, class Events>
struct observed_times {
  vector_view<const Times, device_space> time;
  vector_view<const Events, device_space> event;
  std::uint64_t* key;
  double* value;
  __device__ void operator()(index_t i) const {
    value[i] = static_cast<double>(time[i]);
    key[i] = event[i] != Events(0) ? sort_key(value[i]) : ~std::uint64_t{0};  // the censored to the end
  }
};
template <class Events>
struct observed_events {
  vector_view<const Events, device_space> event;
  __device__ double operator()(index_t i) const { return event[i] != Events(0) ? 1 : 0; }
};
struct write_observed {
  index_t* count;
  __device__ void operator()(double sum) const { *count = static_cast<index_t>(sum); }
};
struct none_observed {
  const index_t* count;
  __device__ bool wrong(index_t) const { return *count == 0; }
  __device__ double value(index_t) const { return 0; }
};
template <class Edges>
struct find_quantiles {
  const double* observed;
  const index_t* counted;
  vector_view<Edges, device_space> edge;
  __device__ void operator()(index_t b) const {
    const index_t count = *counted;
    if (count == 0) {
      edge[b] = Edges(0);
      return;
    }
    const double at = static_cast<double>((count - 1) * (b + 1)) / static_cast<double>(edge.size + 1);
    const auto below = static_cast<index_t>(at);
    const index_t above = below + 1 < count ? below + 1 : count - 1;
    const double rest = at - static_cast<double>(below);
    edge[b] = static_cast<Edges>(observed[below] + rest * (observed[above] - observed[below]));
  }
};
template <class Edges>
struct write_equal_widths {
  double last;
  vector_view<Edges, device_space> edge;
  __device__ void operator()(index_t b) const {
    edge[b] = static_cast<Edges>(last * static_cast<double>(b + 1) / static_cast<double>(edge.size + 1));
  }
};

template <>
struct discretise_kernel<backend::cuda> {
  template <class Times, class Edges, class Bins>
  static void run(cuda_context& ctx, vector_view<const Times, device_space> time,
                  vector_view<const Edges, device_space> edge, closed_side closed,
                  vector_view<Bins, device_space> bin) {
    each(ctx, time.size, find_bins<Times, Edges, Bins>{time, edge, closed, bin});
  }
  template <class Times, class Edges, class Bins, class Parts>
  static void parts(cuda_context& ctx, vector_view<const Times, device_space> time,
                    const bin_scale<Edges, device_space>& scale, vector_view<const Bins, device_space> bin,
                    vector_view<Parts, device_space> part) {
    each(ctx, time.size, find_parts<Times, Edges, Bins, Parts>{time, scale, bin, part});
  }

  template <class Times, class Events, class Edges>
  static void quantiles(cuda_context& ctx, vector_view<const Times, device_space> time,
                        vector_view<const Events, device_space> event, vector_view<Edges, device_space> edge) {
    const index_t n = time.size;
    auto scratch = ctx.workspace().open();
    auto* const key = scratch.template take<std::uint64_t>(n);
    auto* const observed = scratch.template take<double>(n);
    auto* const count = scratch.template take<index_t>(1);
    each(ctx, n, observed_times<Times, Events>{time, event, key, observed});
    sum_each(ctx, n, observed_events<Events>{event}, write_observed{count});
    check_each(
        ctx, 1, none_observed{count},
        {"quantile_edges", "event",
         [](const fault_log::entry& e, index_t, double) {
           throw value_error(error_message(e.function, e.argument, "none observed", "at least one observed event"));
         },
         1});
    sort_by_key(ctx, n, key, observed);
    each(ctx, edge.size, find_quantiles<Edges>{observed, count, edge});
  }

  template <class Edges>
  static void equal_widths(cuda_context& ctx, double last, vector_view<Edges, device_space> edge) {
    each(ctx, edge.size, write_equal_widths<Edges>{last, edge});
  }
};

}  // namespace stroma::detail
