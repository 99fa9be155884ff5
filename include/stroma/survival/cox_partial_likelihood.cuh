#pragma once
#include <cmath>
#include <type_traits>

#include <stroma/survival/cox_partial_likelihood.hpp>
#include <stroma/survival/detail/risk_ranges.cuh>
#include <stroma/survival/risk_order.cuh>

namespace stroma::detail {

/// The deaths of a time, up to one of them.
struct deaths_in_order {
  wide_number risk;
  double weight;
  index_t rows;
  friend __device__ deaths_in_order operator+(const deaths_in_order& a, const deaths_in_order& b) {
    return {a.risk + b.risk, a.weight + b.weight, a.rows + b.rows};
  }
};
/// Hazards of a time for those at risk and for its deaths, and squared ones.
struct tied_hazards {
  double all, own, squared_all, squared_own;
  friend __device__ tied_hazards operator+(const tied_hazards& a, const tied_hazards& b) {
    return {a.all + b.all, a.own + b.own, a.squared_all + b.squared_all, a.squared_own + b.squared_own};
  }
};
struct risk_at {
  const wide_number* risk;
  __device__ wide_number operator()(index_t k) const { return risk[k]; }
};

template <class T>
struct weigh_device_risks {
  vector_view<const T, device_space> score;
  device_risk_plan plan;
  wide_number* risk;
  __device__ void operator()(index_t k) const {
    risk[k] = weighted_exp(weight_at(plan, k), static_cast<double>(score[plan.row[k]]));
  }
};
struct write_tied_deaths {
  device_risk_plan plan;
  const wide_number* risk;
  segment_sum<deaths_in_order>* to;
  __device__ void operator()(index_t k) const {
    const double w = weight_at(plan, k);
    segment_sum<deaths_in_order> own{};  // nvcc 13.0 breaks off at a choice between two aggregates
    if (died_at(plan, k) && w > 0) own.sum = {risk[k], w, 1};
    own.begins = k == plan.first[plan.group[k]];
    to[k] = own;
  }
};

/// What is known of every time.
struct device_ties {
  device_risk_plan plan;
  bool efron;
  const wide_number *risk, *others;            // [rows] by position, by group
  const segment_sum<deaths_in_order>* deaths;  // [rows]

  [[nodiscard]] __device__ cox_tie at(index_t g) const {
    cox_tie tie{{0, 0}, 0, 0, 0, 0, 0};
    const index_t last = plan.first[g + 1] - 1;
    if (plan.deaths[g] > last || deaths[last].sum.rows == 0) return tie;
    const deaths_in_order all = deaths[last].sum;
    tie.weight = all.weight;
    tie.deaths = all.rows;
    tie.steps = efron ? all.rows : 1;
    tie.at_risk = others[g] + all.risk;
    tie.others = ratio(others[g], tie.at_risk);
    tie.tied = ratio(all.risk, tie.at_risk);
    return tie;
  }
  /// As on the host: its own hazard takes all digits of w - r hazard.
  [[nodiscard]] __device__ bool alone(index_t g) const { return plan.first[g + 1] - plan.deaths[g] == 1; }
};

/// A death has its share of the loss, and of its time's hazards the step of its rank among the deaths: however many
/// die at one time, no thread takes more than one.
struct visit_deaths {
  device_ties ties;
  double* loss;
  segment_sum<tied_hazards>* hazards;  // null: not asked for
  __device__ void operator()(index_t k) const {
    const device_risk_plan& plan = ties.plan;
    const index_t g = plan.group[k];
    const double w = weight_at(plan, k);
    tied_hazards h{0, 0, 0, 0};
    loss[k] = 0;
    if (died_at(plan, k) && w > 0) {
      const cox_tie tie = ties.at(g);
      const wide_number r = ties.risk[k];
      const index_t step = ties.deaths[k].sum.rows - 1;
      const double excess = std::log(tie.at_risk.m / r.m * (is_moderate(w) ? w : 1));
      loss[k] = w * (excess + (tie.at_risk.e - r.e) * log_granule + (is_moderate(w) ? 0 : std::log(w)));
      if (step < tie.steps) {
        if (step > 0) loss[k] += tie.share() * std::log(tie.part(step));
        cox_hazard hazard;
        cox_squared_hazard squared;
        hazard.add(tie, step);
        squared.add(tie, step);
        h = {hazard.all, hazard.own, squared.all, squared.own};
      }
    }
    if (hazards != nullptr) hazards[k] = {h, k == plan.first[g]};
  }
};
template <int Sums>
struct write_steps {
  device_ties ties;
  const segment_sum<tied_hazards>* hazards;
  risk_sums<Sums>* step;
  __device__ void operator()(index_t g) const {
    risk_sums<Sums> s{};
    if (g < group_count(ties.plan)) {
      const cox_tie tie = ties.at(g);
      if (tie.steps > 0) {
        const tied_hazards h = hazards[ties.plan.first[g + 1] - 1].sum;
        const wide_number unit = reciprocal(tie.at_risk);
        s.x[0] = unit * h.all;
        if constexpr (Sums > 1) s.x[1] = unit * unit * h.squared_all;
      }
    }
    step[g] = s;
  }
};

template <class T, int Sums>
struct write_device_derivatives {
  device_ties ties;
  const segment_sum<tied_hazards>* hazards;
  const risk_sums<Sums>* step;  // [rows] by position: of the times at which it is at risk
  const double* scale;          // null: 1
  cox_output<T, device_space> out;

  [[nodiscard]] static __device__ double second(const wide_number& r, const wide_number& hazard,
                                                const wide_number& squared) {
    const double d = plain_product(r, hazard) - plain_product(r, r * squared);
    return d < 0 ? 0 : d;
  }
  __device__ void operator()(index_t k) const {
    const device_risk_plan& plan = ties.plan;
    const index_t g = plan.group[k], row = plan.row[k];
    const wide_number r = ties.risk[k];
    const double w = weight_at(plan, k), factor = scale == nullptr ? 1 : *scale;
    double d = plain_product(r, step[k].x[0]), c = 0;
    if constexpr (Sums > 1) c = second(r, step[k].x[0], step[k].x[1]);
    if (died_at(plan, k) && w > 0) {
      const cox_tie tie = ties.at(g);
      const tied_hazards h = hazards[plan.first[g + 1] - 1].sum;
      const wide_number unit = reciprocal(tie.at_risk);
      d += ties.alone(g) ? -w * tie.others : plain_product(r, unit * h.own) - w;
      if constexpr (Sums > 1)
        c += ties.alone(g) ? w * tie.others * tie.tied : second(r, unit * h.own, unit * unit * h.squared_own);
    }
    if (out.gradient.size != 0) out.gradient[row] = static_cast<T>(factor * d);
    if (Sums > 1) out.hessian_diagonal[row] = static_cast<T>(factor * c);
  }
};

struct read_number {
  const double* x;
  __device__ double operator()(index_t k) const { return x[k]; }
};
struct weight_of_death {
  device_risk_plan plan;
  __device__ double operator()(index_t k) const { return died_at(plan, k) ? weight_at(plan, k) : 0; }
};
struct write_mean_scale {
  double* scale;
  __device__ void operator()(double events) const { *scale = events == 0 ? 1 : 1 / events; }
};
template <class T>
struct write_cox_value {
  const double* scale;
  T* value;
  __device__ void operator()(double loss) const { *value = static_cast<T>(scale == nullptr ? loss : *scale * loss); }
};

/// Scans over patients and times; with late entry two of each for every level of risk_ranges. Breslow and Efron.
template <>
struct cox_kernel<backend::cuda> {
  template <class T>
  static void run(cuda_context& ctx, vector_view<const T, device_space> score, const device_risk_plan& plan,
                  const cox_options& options, const cox_output<T, device_space>& out) {
    const bool differentiates = out.gradient.size != 0 || out.hessian_diagonal.size != 0;
    auto scratch = ctx.workspace().open();
    auto* const risk = scratch.template take<wide_number>(plan.rows);
    auto* const others = scratch.template take<wide_number>(plan.rows);
    auto* const deaths = scratch.template take<segment_sum<deaths_in_order>>(plan.rows);
    auto* const loss = scratch.template take<double>(plan.rows);
    auto* const hazards = differentiates ? scratch.template take<segment_sum<tied_hazards>>(plan.rows) : nullptr;
    double* const scale = options.reduce == reduction::mean ? scratch.template take<double>(1) : nullptr;
    const device_ties all{plan, options.tie_method == ties::efron, risk, others, deaths};

    each(ctx, plan.rows, weigh_device_risks<T>{score, plan, risk});
    spread(ctx, plan, risk_at{risk}, others);
    each(ctx, plan.rows, write_tied_deaths{plan, risk, deaths});
    inclusive_scan(ctx, plan.rows, deaths, join_segment_sums{});
    each(ctx, plan.rows, visit_deaths{all, loss, hazards});
    if (scale != nullptr) sum_each(ctx, plan.rows, weight_of_death{plan}, write_mean_scale{scale});
    sum_each(ctx, plan.rows, read_number{loss}, write_cox_value<T>{scale, out.value});
    if (!differentiates) return;
    inclusive_scan(ctx, plan.rows, hazards, join_segment_sums{});
    if (out.hessian_diagonal.size != 0) differentiate<T, 2>(ctx, all, hazards, scale, out);
    else differentiate<T, 1>(ctx, all, hazards, scale, out);
  }

 private:
  template <class T, int Sums>
  static void differentiate(cuda_context& ctx, const device_ties& ties, const segment_sum<tied_hazards>* hazards,
                            const double* scale, const cox_output<T, device_space>& out) {
    const index_t rows = ties.plan.rows;
    auto scratch = ctx.workspace().open();
    auto* const by_group = scratch.template take<risk_sums<Sums>>(rows);
    auto* const by_position = scratch.template take<risk_sums<Sums>>(rows);
    each(ctx, rows, write_steps<Sums>{ties, hazards, by_group});
    gather(ctx, ties.plan, static_cast<const risk_sums<Sums>*>(by_group), by_position);
    each(ctx, rows, write_device_derivatives<T, Sums>{ties, hazards, by_position, scale, out});
  }
};

}  // namespace stroma::detail
