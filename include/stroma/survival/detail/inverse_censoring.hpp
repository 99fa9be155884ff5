#pragma once
#include <stroma/survival/censoring_curve.hpp>

/// What scores at evaluation times share: who lives at which of them, and what a patient who died counts.
namespace stroma::detail {

/// Which value of G an event is divided by: that before its time, that at its time, or 1.
enum class censoring_value { before, at, one };

/// A patient at the evaluation times: alive at the first `alive` of them. From then on one who died counts `dead`; one
/// who was censored has dead = 0.
struct followed_row {
  index_t alive;
  double weight, dead;
};

/// The steps of a curve, asked in order of time.
class step_walker {
 public:
  explicit step_walker(const step_curve<>& curve) : curve_(curve) {}
  double before(double t) {
    while (passed_ < curve_.time.size && curve_.time[passed_] < t) ++passed_;
    return curve_.after_steps(passed_);
  }
  double at(double t) {
    while (passed_ < curve_.time.size && curve_.time[passed_] <= t) ++passed_;
    return curve_.after_steps(passed_);
  }

 private:
  const step_curve<>& curve_;
  index_t passed_ = 0;
};

struct follow_up_rules {
  censoring_value divisor = censoring_value::before;
  bool alive_when_censored = false;  ///< at an evaluation time that is the patient's own
};

/// to[i] for patient i, and undefined[k]: the patients whose divisor is 0 and who died until times[k] but not before,
/// for k up to times.size. O(N + times).
inline void follow(const risk_plan<host_space>& plan, vector_view<const double> times, const step_curve<>& censoring,
                   const follow_up_rules& rules, followed_row* to, index_t* undefined) {
  step_walker g_at(censoring);
  std::fill_n(undefined, times.size + 1, index_t{0});
  index_t before = 0, until = 0;  // evaluation times before a patient's own, and those until it
  for (index_t g = plan.groups; g-- > 0;) {
    const double t = plan.time[g];
    while (before < times.size && times[before] < t) ++before;
    while (until < times.size && times[until] <= t) ++until;
    const double chance = rules.divisor == censoring_value::one      ? 1
                          : rules.divisor == censoring_value::before ? g_at.before(t)
                                                                     : g_at.at(t);
    for (index_t k = plan.first[g]; k < plan.first[g + 1]; ++k) {
      const bool died = k >= plan.deaths[g];
      const double w = plan.weight == nullptr ? 1 : plan.weight[k];
      const bool defined = chance > 0 || !died || !(w > 0);
      to[plan.row[k]] = {died || !rules.alive_when_censored ? before : until, w, died && chance > 0 ? w / chance : 0};
      if (!defined) ++undefined[before];
    }
  }
}

/// Evaluation times as double, in scratch memory.
template <class Frame, class Times>
[[nodiscard]] vector_view<const double> copied_times(Frame& scratch, const Times& times) {
  auto* const copy = scratch.template take<double>(times.size);
  for (index_t k = 0; k < times.size; ++k) copy[k] = static_cast<double>(times[k]);
  return {copy, times.size};
}

/// The curve that weights are taken from: the caller's, or that of the patients themselves.
template <class Context, class Frame>
[[nodiscard]] step_curve<typename Context::space> censoring_or_own(Context& ctx, Frame& scratch,
                                                                   const plan_of<Context>& plan,
                                                                   const step_curve<typename Context::space>& given) {
  return given.absent() ? scratch_curve(ctx, scratch, plan, curve_of::censoring) : given;
}

template <class Context, class Times, class T, class Space>
void check_times_and_estimate(Context& ctx, std::string_view function, const Times& times,
                              const estimate_at_times<T, Space>& out, bool check_values) {
  check::length(function, "value", out.value.size, times.size, "the length of times");
  if (out.undefined.size != 0)
    check::length(function, "undefined", out.undefined.size, times.size, "the length of times");
  if (check_values) value_checks<typename Context::backend>::rising(ctx, function, "times", times);
}

}  // namespace stroma::detail
