#pragma once
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/survival/brier_score.hpp>
#include <stroma/survival/detail/inverse_censoring.cuh>

namespace stroma::detail {

/// What patients add up to at one time.
struct brier_part {
  brier_sums sums;
  double everybody;
  index_t alive, unknown;  // patients who are alive there, and those who died with a chance of 0
};
struct join_brier_parts {
  __device__ brier_part operator()(const brier_part& a, const brier_part& b) const {
    return {{a.sums.alive_loss + b.sums.alive_loss, a.sums.dead_loss + b.sums.dead_loss, a.sums.alive + b.sums.alive,
             a.sums.dead + b.sums.dead},
            a.everybody + b.everybody,
            a.alive + b.alive,
            a.unknown + b.unknown};
  }
};

/// Patients that one thread adds up for one time. Neighbours have neighbouring times, which lie side by side.
inline constexpr index_t brier_piece = 128;

template <class S>
struct sum_brier_piece {
  matrix_view<const S, device_space> survival;
  const device_followed_row* rows;
  brier_part* to;  // [pieces, times]
  __device__ void operator()(index_t at) const {
    const index_t piece = at / survival.cols, k = at % survival.cols, first = piece * brier_piece;
    const index_t last = first + brier_piece < survival.rows ? first + brier_piece : survival.rows;
    brier_part sum{{0, 0, 0, 0}, 0, 0, 0};
    for (index_t i = first; i < last; ++i) {
      const device_followed_row r = rows[i];
      sum.everybody += r.row.weight;
      if (!(r.row.weight > 0)) continue;
      const auto s = static_cast<double>(survival(i, k));
      if (k < r.row.alive) {
        sum.sums.alive_loss += r.row.weight * (1 - s) * (1 - s);
        sum.sums.alive += r.row.weight;
        ++sum.alive;
      } else if (r.row.dead > 0) {
        sum.sums.dead_loss += r.row.dead * s * s;
        sum.sums.dead += r.row.dead;
      } else if (r.unknown) {
        ++sum.unknown;
      }
    }
    to[at] = sum;
  }
};
/// Of a warp for each time.
template <class S>
struct finish_brier {
  const brier_part* parts;
  index_t pieces;
  const double* times;
  step_curve<device_space> censoring;
  bool normalised;
  estimate_at_times<S, device_space> out;
  __device__ void operator()(index_t k, index_t lane) const {
    brier_part mine{{0, 0, 0, 0}, 0, 0, 0};
    for (index_t p = lane; p < pieces; p += warp_threads)
      mine = join_brier_parts{}(mine, parts[p * out.value.size + k]);
    const auto sum = [](auto value) { return warp_join(value, add_values{}); };
    const brier_sums s{sum(mine.sums.alive_loss), sum(mine.sums.dead_loss), sum(mine.sums.alive), sum(mine.sums.dead)};
    const double everybody = sum(mine.everybody);
    const auto alive = static_cast<index_t>(sum(static_cast<double>(mine.alive))),
               unknown = static_cast<index_t>(sum(static_cast<double>(mine.unknown)));
    if (lane != 0) return;
    const double g = normalised ? censoring.before(times[k]) : censoring.at(times[k]);
    const index_t without = unknown + (g > 0 ? 0 : alive);
    out.value[k] = static_cast<S>(without == 0 ? brier_value(s, g, everybody, normalised) : not_a_number<double>);
    if (out.undefined.size != 0) out.undefined[k] = without;
  }
};
struct curve_at_times {
  step_curve<device_space> curve;
  const double* times;
  double* to;
  __device__ void operator()(index_t k) const { to[k] = curve.at(times[k]); }
};
template <class S, class Times>
struct trapezoids {
  vector_view<const S, device_space> score;
  vector_view<const Times, device_space> times;
  __device__ double operator()(index_t k) const {
    return (static_cast<double>(times[k + 1]) - static_cast<double>(times[k])) *
           (static_cast<double>(score[k + 1]) + static_cast<double>(score[k])) / 2;
  }
};
template <class Times>
struct write_mean_area {
  vector_view<const Times, device_space> times;
  double* to;
  __device__ void operator()(double area) const {
    *to = area / (static_cast<double>(times[times.size - 1]) - static_cast<double>(times[0]));
  }
};

template <>
struct brier_kernel<backend::cuda> {
  template <class S, class Times>
  static void run(cuda_context& ctx, matrix_view<const S, device_space> survival,
                  vector_view<const Times, device_space> at, const device_risk_plan& plan,
                  const brier_options<device_space>& options, const estimate_at_times<S, device_space>& out) {
    auto scratch = ctx.workspace().open();
    judge(ctx, survival, copied_times(ctx, scratch, at), plan, options, out);
  }
  /// Rows of predictions that lie on one another.
  template <class S, class Times>
  static void reference(cuda_context& ctx, vector_view<const Times, device_space> at, const device_risk_plan& plan,
                        const brier_options<device_space>& options, const estimate_at_times<S, device_space>& out) {
    auto scratch = ctx.workspace().open();
    const double* const times = copied_times(ctx, scratch, at);
    auto* const survival = scratch.template take<double>(at.size);
    const auto curve = scratch_curve(ctx, scratch, plan, curve_of::survival);
    each(ctx, at.size, curve_at_times{curve, times, survival});
    judge(ctx, matrix_view<const double, device_space>(survival, plan.rows, at.size, 0, 1), times, plan, options, out);
  }
  /// Waits for the device.
  template <class S, class Times>
  static double integral(cuda_context& ctx, vector_view<const S, device_space> score,
                         vector_view<const Times, device_space> times) {
    auto scratch = ctx.workspace().open();
    auto* const mean = scratch.template take<double>(1);
    sum_each(ctx, times.size - 1, trapezoids<S, Times>{score, times}, write_mean_area<Times>{times, mean});
    return primitives<backend::cuda>::read(ctx, static_cast<const double*>(mean));
  }

 private:
  template <class P, class S>
  static void judge(cuda_context& ctx, matrix_view<const P, device_space> survival, const double* times,
                    const device_risk_plan& plan, const brier_options<device_space>& options,
                    const estimate_at_times<S, device_space>& out) {
    const index_t count = survival.cols, pieces = (plan.rows + brier_piece - 1) / brier_piece;
    auto scratch = ctx.workspace().open();
    auto* const rows = scratch.template take<device_followed_row>(plan.rows);
    auto* const parts = scratch.template take<brier_part>(pieces * count);
    const auto censoring = censoring_or_own(ctx, scratch, plan, options.censoring);
    each(ctx, plan.rows, follow_patients{plan, times, count, censoring, rules_of(options.weights), rows});
    each(ctx, pieces * count, sum_brier_piece<P>{survival, rows, parts});
    each_row(ctx, count,
             finish_brier<S>{parts, pieces, times, censoring, options.weights == brier_weights::normalised, out});
  }
};

}  // namespace stroma::detail
