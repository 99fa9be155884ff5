#pragma once
#include <algorithm>
#include <concepts>
#include <limits>

#include <stroma/survival/censoring_curve.hpp>
#include <stroma/survival/detail/inverse_censoring.hpp>

namespace stroma {

/// How patients weigh at an evaluation time t. G is the chance to be uncensored, G(t-) that just before t.
enum class brier_weights {
  left_limit,   ///< died until t: 1/G(T-); alive after t: 1/G(t); over all patients (Graf; pec, pycox)
  right_limit,  ///< died until t: 1/G(T), else the same (scikit-survival, torchsurv)
  normalised    ///< 1/G(T-) and 1/G(t-), who is censored at t counts as alive; over the sum of weights (R's survival)
};

template <class Space = host_space>
struct brier_options {
  brier_weights weights = brier_weights::left_limit;
  step_curve<Space> censoring{};  ///< G, say of the patients a model was trained on; absent: of the order's patients
  bool check_values = true;       ///< predictions from 0 to 1; finite times that never fall
};

namespace detail {

[[nodiscard]] inline follow_up_rules rules_of(brier_weights weights) {
  return {weights == brier_weights::right_limit ? censoring_value::at : censoring_value::before,
          weights == brier_weights::normalised};
}

/// Sums over the patients who count at an evaluation time, before they are divided by G there.
struct brier_sums {
  double alive_loss, dead_loss, alive, dead;  ///< of w (1 - S)^2, of w / G(T) S^2, and of the weights alone
};
/// The score at one time. `at_risk`: the chance to be uncensored there; `everybody`: the sum of case weights.
[[nodiscard]] STROMA_HOST_DEVICE inline double brier_value(const brier_sums& s, double at_risk, double everybody,
                                                           bool normalised) {
  // Without anybody alive G there says nothing, and may be 0.
  const double alive_loss = s.alive > 0 ? s.alive_loss / at_risk : 0;
  const double all = normalised ? (s.alive > 0 ? s.alive / at_risk : 0) + s.dead : everybody;
  return (alive_loss + s.dead_loss) / all;
}

template <class Backend>
struct brier_kernel {
  static_assert(std::same_as<Backend, backend::cpu>,
                "device data: include <stroma/survival/brier_score.cuh> and compile with nvcc");

  template <class S, class Times>
  static void run(cpu_context& ctx, matrix_view<const S> survival, vector_view<const Times> times,
                  const risk_plan<host_space>& plan, const brier_options<>& options, estimate_at_times<S> out) {
    judge(ctx, times, plan, options, out,
          [&](const followed_row* rows, brier_sums* sums) { add_losses(ctx, survival, rows, sums); });
  }

  /// Everybody is predicted the Kaplan-Meier curve of all, so the weights' sums suffice.
  template <class S, class Times>
  static void reference(cpu_context& ctx, vector_view<const Times> times, const risk_plan<host_space>& plan,
                        const brier_options<>& options, estimate_at_times<S> out) {
    auto scratch = ctx.workspace().open();
    const step_curve<> curve = scratch_curve(ctx, scratch, plan, curve_of::survival);
    judge(ctx, times, plan, options, out, [&](const followed_row*, brier_sums* sums) {
      step_walker survival(curve);
      for (index_t k = 0; k < times.size; ++k) {
        const double s = survival.at(static_cast<double>(times[k]));
        sums[k].alive_loss = sums[k].alive * (1 - s) * (1 - s);
        sums[k].dead_loss = sums[k].dead * s * s;
      }
    });
  }

  template <class S, class Times>
  static double integral(cpu_context&, vector_view<const S> score, vector_view<const Times> times) {
    double area = 0;
    for (index_t k = 1; k < times.size; ++k)
      area += (static_cast<double>(times[k]) - static_cast<double>(times[k - 1])) *
              (static_cast<double>(score[k]) + static_cast<double>(score[k - 1])) / 2;
    return area / (static_cast<double>(times[times.size - 1]) - static_cast<double>(times[0]));
  }

 private:
  template <class S, class Times, class Losses>
  static void judge(cpu_context& ctx, vector_view<const Times> at, const risk_plan<host_space>& plan,
                    const brier_options<>& options, estimate_at_times<S> out, const Losses& losses) {
    const index_t count = at.size;
    if (count == 0) return;
    auto scratch = ctx.workspace().open();
    const auto times = copied_times(scratch, at);
    auto* const rows = scratch.template take<followed_row>(plan.rows);
    auto* const undefined = scratch.template take<index_t>(count + 1);
    auto* const sums = scratch.template take<brier_sums>(count);
    const step_curve<> censoring = censoring_or_own(ctx, scratch, plan, options.censoring);
    follow(plan, times, censoring, rules_of(options.weights), rows, undefined);
    const double everybody = add_weights(rows, plan.rows, sums, count);
    losses(rows, sums);

    const bool normalised = options.weights == brier_weights::normalised;
    step_walker g_at(censoring);
    index_t unknown = 0;  // who died with a chance of 0
    for (index_t k = 0; k < count; ++k) {
      unknown += undefined[k];
      const double g = normalised ? g_at.before(times[k]) : g_at.at(times[k]);
      const index_t without = unknown + (g > 0 ? 0 : alive_rows(rows, plan.rows, k));
      const double value = brier_value(sums[k], g, everybody, normalised);
      out.value[k] = static_cast<S>(without == 0 ? value : std::numeric_limits<double>::quiet_NaN());
      if (out.undefined.size != 0) out.undefined[k] = without;
    }
  }

  static index_t alive_rows(const followed_row* rows, index_t n, index_t k) {
    return std::count_if(rows, rows + n, [&](const followed_row& r) { return r.weight > 0 && k < r.alive; });
  }

  /// Who is alive at a time is so before, who is dead stays so. Returns the sum of all case weights.
  static double add_weights(const followed_row* rows, index_t n, brier_sums* sums, index_t count) {
    std::fill_n(sums, count, brier_sums{});
    double everybody = 0;
    for (index_t i = 0; i < n; ++i) {
      everybody += rows[i].weight;
      if (rows[i].alive > 0) sums[rows[i].alive - 1].alive += rows[i].weight;
      if (rows[i].alive < count) sums[rows[i].alive].dead += rows[i].dead;
    }
    for (index_t k = count - 1; k > 0; --k) sums[k - 1].alive += sums[k].alive;
    for (index_t k = 1; k < count; ++k) sums[k].dead += sums[k - 1].dead;
    return everybody;
  }

  /// Losses of blocks of rows apart, then joined in their order: the same for any number of threads.
  template <class S>
  static void add_losses(cpu_context& ctx, matrix_view<const S> survival, const followed_row* rows, brier_sums* sums) {
    const index_t n = survival.rows, count = survival.cols;
    const index_t block = std::max<index_t>(512, (n + 255) / 256), blocks = (n + block - 1) / block;
    auto scratch = ctx.workspace().open();
    auto* const parts = scratch.template take<double>(2 * blocks * count);
    ctx.parallel(blocks, [&](index_t b, int) {
      double* const alive = parts + 2 * b * count;
      double* const dead = alive + count;
      std::fill_n(alive, 2 * count, 0.0);
      for (index_t i = b * block; i < std::min(n, (b + 1) * block); ++i) {
        const S* const s = survival.data + i * survival.row_stride;
        if (survival.col_stride == 1) add_row([s](index_t k) { return s[k]; }, count, rows[i], alive, dead);
        else add_row([s, step = survival.col_stride](index_t k) { return s[k * step]; }, count, rows[i], alive, dead);
      }
    });
    for (index_t b = 0; b < blocks; ++b)
      for (index_t k = 0; k < count; ++k) {
        sums[k].alive_loss += parts[2 * b * count + k];
        sums[k].dead_loss += parts[(2 * b + 1) * count + k];
      }
  }
  template <class At>
  static void add_row(const At& survival, index_t count, const followed_row& row, double* alive, double* dead) {
    if (row.weight > 0)  // else a prediction of it that is not a number would count
      for (index_t k = 0; k < row.alive; ++k) {
        const double s = 1 - static_cast<double>(survival(k));
        alive[k] += row.weight * s * s;
      }
    if (row.dead > 0)
      for (index_t k = row.alive; k < count; ++k) {
        const double s = static_cast<double>(survival(k));
        dead[k] += row.dead * s * s;
      }
  }
};

}  // namespace detail

/// Brier's score of predicted survival at evaluation times: the mean squared distance to what happened, where patients
/// who died before and those who live on stand for those censored meanwhile.
///
/// BS(t) = 1/N [ sum over T_i <= t, died of S_i(t)^2 / G(T_i-) + sum over T_i > t of (1 - S_i(t))^2 / G(t) ]
///
/// with G the chance to be uncensored; brier_weights names the other conventions. The order's weights count as copies
/// of patients. Where somebody's weight is not defined, for G is 0, the score is NaN and out.undefined says how many.
///
/// @param survival [N, times] predicted chances to live beyond the times   @param times [times], never falling
/// @param order [N] follow-up, without strata and late entry   @param out value and undefined [times], overwritten
/// Cost: O(N times + order), O(N + 512 times) scratch. The same bits from run to run and for any number of threads.
/// @throws shape_error, value_error   Reference: Graf et al. 1999; Gerds & Schumacher 2006.
template <execution_context Context, matrix_like Predictions, vector_like Times>
  requires same_space<Context, Predictions, Times>
void brier_score(Context& ctx, const Predictions& survival, const Times& times,
                 const risk_order<typename Context::backend>& order,
                 const estimate_at_times<scalar_of<Predictions>, typename Context::space>& out,
                 const brier_options<typename Context::space>& options = {}) {
  constexpr auto name = "brier_score";
  const auto s = as_const_view(survival);
  const auto t = as_const_view(times);
  check::shape(name, "survival", s, order.size(), t.size);
  detail::check_followed_from_start(name, order);
  detail::check_step_curve(name, "censoring", options.censoring);
  detail::check_times_and_estimate(ctx, name, t, out, options.check_values);
  if (options.check_values) value_checks<typename Context::backend>::probabilities(ctx, name, "survival", s);
  detail::brier_kernel<typename Context::backend>::run(ctx, s, t, order.plan(), options, out);
}

/// The score of a prediction that knows nobody: the Kaplan-Meier curve of the order's patients for each of them. A
/// model's skill is 1 - its score / this one.
/// @param times, order, out, options as of brier_score
/// Cost: O(N + times).   @throws shape_error, value_error
template <execution_context Context, vector_like Times, class T>
  requires same_space<Context, Times>
void reference_brier_score(Context& ctx, const Times& times, const risk_order<typename Context::backend>& order,
                           const estimate_at_times<T, typename Context::space>& out,
                           const brier_options<typename Context::space>& options = {}) {
  constexpr auto name = "reference_brier_score";
  const auto t = as_const_view(times);
  detail::check_followed_from_start(name, order);
  detail::check_step_curve(name, "censoring", options.censoring);
  detail::check_times_and_estimate(ctx, name, t, out, options.check_values);
  detail::brier_kernel<typename Context::backend>::reference(ctx, t, order.plan(), options, out);
}

/// The mean of a score over the span of its times, by trapezoids: of brier_score's values the integrated Brier score.
///
/// 1 / (t_last - t_first) sum over k of (t_k+1 - t_k) (score_k + score_k+1) / 2
///
/// @param score [times]   @param times [times] 2 or more, never falling, the last later than the first
/// Cost: O(times); waits.   @throws shape_error
template <execution_context Context, vector_like Scores, vector_like Times>
  requires same_space<Context, Scores, Times>
[[nodiscard]] double integrated_brier_score(Context& ctx, const Scores& score, const Times& times) {
  constexpr auto name = "integrated_brier_score";
  const auto s = as_const_view(score);
  const auto t = as_const_view(times);
  check::same_length(name, "score", s, "times", t);
  if (t.size < 2) throw shape_error(error_message(name, "times", "length " + std::to_string(t.size), "2 or more"));
  return detail::brier_kernel<typename Context::backend>::integral(ctx, s, t);
}

}  // namespace stroma
