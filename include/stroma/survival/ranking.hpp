#pragma once
#include <algorithm>
#include <cmath>
#include <utility>

#include <stroma/autodiff/graph.hpp>
#include <stroma/survival/risk_order.hpp>

namespace stroma {

struct ranking_options {
  double margin = 1;                   ///< 0 or more: by how much the later time must be predicted to be later
  reduction reduce = reduction::mean;  ///< mean: over the comparable pairs
  bool check_values = true;            ///< finite predictions; finite times of 0 or later; events 0 or 1
};

template <class T, class Space = host_space>
struct ranking_output {
  T* value{};                        ///< one number
  vector_view<T, Space> gradient{};  ///< [N] d value / d prediction, overwritten; empty: not computed
};

namespace detail {

template <class Backend>
struct ranking_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/ranking.cuh> and compile with nvcc");

  struct patient {
    double prediction;
    index_t row;  ///< of an event; ~row of a censored patient
    [[nodiscard]] bool died() const { return row >= 0; }
  };
  struct sums {
    double loss = 0;
    index_t pairs = 0;
  };

  template <class T>
  static void run(cpu_context& ctx, vector_view<const T> prediction, const risk_plan<host_space>& plan,
                  const ranking_options& options, ranking_output<T> out) {
    const index_t n = plan.rows;
    auto scratch = ctx.workspace().open();
    auto* patients = scratch.template take<patient>(n);
    auto* spare = scratch.template take<patient>(n);
    auto* const run_ends = scratch.template take<index_t>(plan.groups + 1);
    auto* const net = scratch.template take<index_t>(n);  // violated pairs as the earlier minus as the later patient
    std::fill(net, net + n, index_t{0});

    // Predictions enter as differences from one of them, so that large ones that differ little lose nothing.
    const double origin = n > 0 ? static_cast<double>(prediction[0]) : 0;
    sums total;
    for (index_t g = 0; g < plan.groups; ++g) {
      const index_t first = plan.first[g], deaths = plan.deaths[g], last = plan.first[g + 1];
      for (index_t k = first; k < last; ++k) {
        const index_t row = plan.row[k];
        patients[k] = {static_cast<double>(prediction[row]) - origin, k < deaths ? ~row : row};
      }
      std::sort(patients + first, patients + last, before);
      total.pairs += (last - deaths) * first;
      run_ends[g] = last;
    }
    // Groups of one time are merged two by two, the later one on the left: every pair of different times meets once.
    for (index_t runs = plan.groups; runs > 1; runs = (runs + 1) / 2) {
      index_t begin = 0;
      for (index_t r = 0; r < runs; r += 2) {
        const index_t middle = run_ends[r], end = r + 1 < runs ? run_ends[r + 1] : middle;
        total.loss += violations(patients, begin, middle, end, options.margin, net);
        std::merge(patients + begin, patients + middle, patients + middle, patients + end, spare + begin, before);
        run_ends[r / 2] = end;
        begin = end;
      }
      std::swap(patients, spare);
    }
    const double scale =
        options.reduce == reduction::sum || total.pairs == 0 ? 1 : 1 / static_cast<double>(total.pairs);
    *out.value = static_cast<T>(scale * total.loss);
    for (index_t i = 0; i < out.gradient.size; ++i)
      out.gradient[i] = static_cast<T>(scale * static_cast<double>(net[i]));
  }

 private:
  static bool before(const patient& a, const patient& b) { return sort_key(a.prediction) < sort_key(b.prediction); }

  /// Pairs of an event on the right (earlier) with a patient on the left (later) whose prediction is below the event's
  /// plus the margin. Both sides are sorted, so one pointer serves all events, and one all later patients.
  static double violations(const patient* p, index_t begin, index_t middle, index_t end, double margin, index_t* net) {
    double loss = 0, sum = 0;
    index_t low = begin;
    for (index_t e = middle; e < end; ++e) {
      const double bound = p[e].prediction + margin;
      for (; low < middle && p[low].prediction < bound; ++low) sum += p[low].prediction;
      if (!p[e].died()) continue;
      const index_t count = low - begin;
      loss += static_cast<double>(count) * bound - sum;
      net[p[e].row] += count;
    }
    index_t events = 0, e = end;
    for (index_t l = middle; l-- > begin;) {
      for (; e > middle && p[l].prediction < p[e - 1].prediction + margin; --e) events += p[e - 1].died() ? 1 : 0;
      net[p[l].died() ? p[l].row : ~p[l].row] -= events;
    }
    return loss;
  }
};

template <class Context, class T, class Space>
void check_ranking(Context& ctx, std::string_view name, index_t rows, vector_view<const T, Space> prediction,
                   const ranking_output<T, Space>& out, const ranking_options& options) {
  using checks = value_checks<typename Context::backend>;
  check::length(name, "prediction", prediction.size, rows, "the length of order");
  if (out.gradient.size != 0) check::same_length(name, "gradient", out.gradient, "prediction", prediction);
  if (!(options.margin >= 0 && std::isfinite(options.margin)))
    throw value_error(error_message(name, "margin", number_text(options.margin), "a finite number of 0 or more"));
  if (options.check_values) checks::finite(ctx, name, "prediction", prediction);
}

}  // namespace detail

/// Pairwise hinge loss of predicted times, and its gradient: the order of deaths is learned, not their times.
///
/// loss = sum over pairs (i, j) with an event at time_i < time_j of max(0, margin + prediction_i - prediction_j)
///
/// or its mean over all these pairs. Patients of one time are not compared; case weights of an order are not used.
/// Without a pair the value and the gradient are 0. The gradient at the kink is 0.
///
/// @param prediction [N] times, larger is later: minus a risk   @param time [N] any unit   @param event [N] 1 observed
/// @param order [N] or, in place of both, the cohort sorted before
/// @param out value, and unless empty the gradient [N]
/// Cost: O(N log N) time, O(N) scratch. Same bits from run to run.
/// @throws shape_error, value_error   Reference: Raykar et al. 2008; ranking loss of STEPH.
template <execution_context Context, vector_like Predictions, vector_like Times, vector_like Events>
  requires same_space<Context, Predictions, Times, Events>
void ranking(Context& ctx, const Predictions& prediction, const Times& time, const Events& event,
             ranking_output<scalar_of<Predictions>, typename Context::space> out, const ranking_options& options = {}) {
  constexpr auto name = "ranking";
  const auto p = as_const_view(prediction);
  const auto t = as_const_view(time);
  const auto e = as_const_view(event);
  check::same_length(name, "time", t, "prediction", p);
  check::same_length(name, "event", e, "prediction", p);
  detail::check_ranking(ctx, name, p.size, p, out, options);
  detail::check_follow_up(ctx, name, t, e, {.check_values = options.check_values});
  auto scratch = ctx.workspace().open();
  const auto plan = detail::scratch_plan(ctx, scratch, t, e);
  detail::ranking_kernel<typename Context::backend>::run(ctx, p, plan, options, out);
}
template <execution_context Context, vector_like Predictions>
  requires same_space<Context, Predictions>
void ranking(Context& ctx, const Predictions& prediction, const risk_order<typename Context::backend>& order,
             ranking_output<scalar_of<Predictions>, typename Context::space> out, const ranking_options& options = {}) {
  const auto p = as_const_view(prediction);
  check::require(!order.late_entry() && !order.stratified(), "ranking", "order",
                 order.stratified() ? "strata" : "late entry", "neither strata nor late entry");
  detail::check_ranking(ctx, "ranking", order.size(), p, out, options);
  detail::ranking_kernel<typename Context::backend>::run(ctx, p, order.plan(), options, out);
}

/// The value alone, for host data.
template <execution_context Context, vector_like Predictions, vector_like Times, vector_like Events>
  requires same_space<Context, Predictions, Times, Events> && std::same_as<typename Context::space, host_space>
[[nodiscard]] scalar_of<Predictions> ranking(Context& ctx, const Predictions& prediction, const Times& time,
                                             const Events& event, const ranking_options& options = {}) {
  scalar_of<Predictions> value{};
  ranking(ctx, prediction, time, event, ranking_output<scalar_of<Predictions>>{&value, {}}, options);
  return value;
}

namespace detail {

template <class T, class Backend, class Evaluate>
node record_ranking(graph<T, Backend>& g, node prediction, const Evaluate& evaluate) {
  using space = typename Backend::space;
  const auto p = as_vector("ranking", "prediction", g.value(prediction));
  const auto [loss, value] = g.emit(1, 1, {prediction});
  if (!g.needs_gradient(loss)) {
    evaluate(p, ranking_output<T, space>{value.data, {}});
    return loss;
  }
  const vector_view<T, space> gradient(g.template take<T>(p.size), p.size);
  evaluate(p, ranking_output<T, space>{value.data, gradient});
  g.on_backward(loss, [prediction, gradient, out = loss](graph<T, Backend>& at) {
    const auto target = at.gradient_of(prediction);
    primitives<Backend>::axpy(at.context(), at.gradient(out).data,
                              matrix_view<const T, space>(gradient.data, target.rows, target.cols), target);
  });
  return loss;
}

}  // namespace detail

/// Recorded on a graph: prediction [N, 1] or [1, N] to the loss [1, 1].
template <class T, class Backend, vector_like Times, vector_like Events>
  requires same_space<context_of<Backend>, Times, Events>
node ranking(graph<T, Backend>& g, node prediction, const Times& time, const Events& event,
             const ranking_options& options = {}) {
  return detail::record_ranking(
      g, prediction, [&](const auto& p, const auto& out) { ranking(g.context(), p, time, event, out, options); });
}
template <class T, class Backend>
node ranking(graph<T, Backend>& g, node prediction, const risk_order<Backend>& order,
             const ranking_options& options = {}) {
  return detail::record_ranking(g, prediction,
                                [&](const auto& p, const auto& out) { ranking(g.context(), p, order, out, options); });
}

}  // namespace stroma
