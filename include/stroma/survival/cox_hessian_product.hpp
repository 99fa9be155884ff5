#pragma once
#include <algorithm>
#include <type_traits>

#include <stroma/survival/cox_partial_likelihood.hpp>

namespace stroma {

namespace detail {

template <class Backend>
struct cox_product_kernel {
  static_assert(std::same_as<Backend, backend::cpu>, "cox_hessian_product is for host data");

  template <class T, class V>
  static void run(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan,
                  vector_view<const V> direction, const cox_options& options, vector_view<T> out) {
    using pair = risk_sums<2>;  // of r and of r v, or of hazards and of hazards times the mean of v
    const bool exact = options.tie_method == ties::exact;
    auto scratch = ctx.workspace().open();
    auto* const risk = scratch.template take<wide_number>(plan.rows);
    auto* const step = scratch.template take<pair>(plan.groups);
    auto* const own = scratch.template take<pair>(plan.groups);
    auto* const tangent = exact ? scratch.template take<double>(plan.rows) : nullptr;
    const risk_ranges ranges(scratch, plan);
    auto* const room = scratch.template take<pair>(ranges.room(plan));
    const auto v = [&](index_t k) { return static_cast<double>(direction[plan.row[k]]); };

    weigh_risks(ctx, score, plan, risk);
    ranges.spread(
        plan,
        [&](index_t k) {
          return pair{{risk[k], risk[k] * v(k)}};
        },
        room, own);
    double events = 0;
    for (index_t g = 0; g < plan.groups; ++g) {
      const pair others = own[g];
      const cox_tie tie = tie_of(plan, risk, others.x[0], plan.deaths[g], plan.first[g + 1], options.tie_method);
      step[g] = own[g] = pair{};
      events += tie.weight;
      if (tie.steps == 0) continue;
      wide_number tied{};
      for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k) tied += risk[k] * v(k);
      const auto h = sum_of_steps(tie, cox_hazard{});
      const auto mean = sum_of_steps(tie, cox_mean_hazard{ratio(others.x[1], tie.at_risk), ratio(tied, tie.at_risk)});
      const wide_number unit = reciprocal(tie.at_risk);
      step[g] = {{unit * h.all, unit * mean.all}};
      own[g] = {{unit * h.own, unit * mean.own}};
    }
    if (exact) differentiate_exact_ties(ctx, scratch, plan, risk, v, tangent);
    const double scale = scale_of(options.reduce, events);
    ranges.gather(plan, step, room, [&](index_t k, pair h) {
      const index_t g = plan.group[k];
      if (k >= plan.deaths[g]) h += own[g];
      double d = v(k) * plain_product(risk[k], h.x[0]) - plain_product(risk[k], h.x[1]);
      if (exact) d += tangent[k];
      out[plan.row[k]] = static_cast<T>(scale * d);
    });
  }

 private:
  /// The chances of being among tied deaths, differentiated in the direction.
  template <class Frame, class Direction>
  static void differentiate_exact_ties(cpu_context& ctx, Frame& scratch, const risk_plan<host_space>& plan,
                                       const wide_number* risk, const Direction& v, double* tangent) {
    std::fill(tangent, tangent + plan.rows, 0.0);
    for_each_exact_chain(scratch, plan, false, [&](const index_t* at, const exact_tie* tie, index_t count) {
      auto frame = ctx.workspace().open();
      exact_chain<wide_dual>(tie, count)
          .differentiate(
              frame,
              [&](index_t j) {
                return wide_dual{risk[at[j]], risk[at[j]] * v(at[j])};
              },
              [&](index_t j, const wide_dual& chance) { tangent[at[j]] += to_double(chance.tangent); });
    });
  }
};

template <class T, class V>
void check_cox_product(cpu_context& ctx, index_t rows, bool weighted, vector_view<const T> score,
                       vector_view<const V> direction, vector_view<T> out, const cox_options& options) {
  constexpr auto name = "cox_hessian_product";
  check::length(name, "score", score.size, rows, "the length of order");
  check::same_length(name, "direction", direction, "score", score);
  check::same_length(name, "out", out, "score", score);
  check_exact_ties(name, options, weighted, true);
  if (!options.check_values) return;
  value_checks<backend::cpu>::finite(ctx, name, "score", score);
  value_checks<backend::cpu>::finite(ctx, name, "direction", direction);
}

}  // namespace detail

/// The Hessian of Cox's negative log partial likelihood in the scores, times a vector, without the matrix:
///
///   out_j = sum over k of d2 loss / (d score_j d score_k) direction_k
///
/// for the loss of cox_partial_likelihood under the same options, ties, weights, strata and late entry included. With
/// a column x of covariates as direction, x' out is an entry of the information matrix; in Newton's method and in
/// conjugate gradients it stands where the matrix would.
///
/// @param score [N] log hazards   @param direction [N]   @param order [N] the cohort
/// @param out   [N], overwritten; may be the direction itself
/// Cost: O(N), late entry O(N log N); exact ties of d deaths O(N d) for all times together, with late entry for each.
/// An entry is precise to a rounding of its share of the loss times the largest |direction|. Same bits from run to run.
/// @throws shape_error, value_error
template <vector_like Scores, vector_like Directions, class Out>
  requires same_space<cpu_context, Scores, Directions, std::remove_cvref_t<Out>>
void cox_hessian_product(cpu_context& ctx, const Scores& score, const risk_order<>& order, const Directions& direction,
                         Out&& out, const cox_options& options = {}) {
  const auto s = as_const_view(score);
  const auto v = as_const_view(direction);
  const vector_view<scalar_of<Scores>> o = as_view(out);
  detail::check_cox_product(ctx, order.size(), order.weighted(), s, v, o, options);
  detail::cox_product_kernel<backend::cpu>::run(ctx, s, order.plan(), v, options, o);
}

}  // namespace stroma
