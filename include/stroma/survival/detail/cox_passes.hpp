#pragma once
#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <stroma/core/loss.hpp>
#include <stroma/survival/detail/cox_exact.hpp>
#include <stroma/survival/detail/cox_risk.hpp>
#include <stroma/survival/detail/risk_marks.hpp>
#include <stroma/survival/detail/risk_ranges.hpp>

namespace stroma::detail {

/// Cox's likelihood and its derivatives. Positions are taken in tiles, by any number of threads, and each pass reads
/// and writes an array once:
///
///   1. the risks, and their running sum within the tile at each event time;
///   2. at each event time, with the sum of the tiles before, the loss and the hazards;
///   3. backwards, the running sum of the hazards, and with it the derivatives.
///
/// With late entry the sums of 1 and 3 come from risk_ranges. Order is that of the highest derivative that is asked
/// for; Number, in which sums are kept: wide_number, or double where all fits, with half the memory to move.
template <int Order, class Number>
class cox_passes {
  static_assert(rows_of_task <= marks_of_piece);
  static constexpr int sums = Order > 1 ? 2 : 1;
  using hazards = risk_sums<sums, Number>;  // of a time, and squared

 public:
  /// False, with nothing written, where risks may not fit Number.
  template <class T, class Output>
  [[nodiscard]] static bool run(cpu_context& ctx, vector_view<const T> score, const risk_plan<host_space>& plan,
                                ties method, reduction reduce, const Output& out) {
    auto scratch = ctx.workspace().open();
    cox_passes p(ctx, plan, method);
    p.tile_ = scratch.template take<tile>(p.tiles_);
    p.risk_ = scratch.template take<Number>(plan.rows);
    p.time_ = scratch.template take<event_time>(p.count_event_times() + 1) + 1;
    p.time_[-1] = {};
    for (int d = 0; d < Order && p.by_row(); ++d) {
      p.own_[d] = scratch.template take<double>(plan.rows);
      std::fill_n(p.own_[d], plan.rows, 0.0);
    }
    const risk_ranges ranges(scratch, plan);

    if (!p.sum_risks(score, ranges)) return false;
    auto [loss, events] = p.visit_event_times();
    if constexpr (std::same_as<Number, wide_number>)
      if (method == ties::exact) loss += p.visit_exact_ties();
    const double scale = scale_of(reduce, events);
    *out.value = static_cast<T>(scale * loss);
    if constexpr (Order > 0) p.differentiate(ranges, scale, out);
    return true;
  }

 private:
  struct total {
    double loss, events;
  };
  /// A time at which someone dies, in a stratum.
  struct event_time {
    hazards all;  // of those at risk who do not die then. Until it is visited, x[0] is the sum of their risks
    hazards own;  // of its deaths. Of a death alone x[0] is its derivative, -w others / S
  };
  struct tile {
    index_t first_event;        // number of its first event time: one belongs where its first death is
    bool ties;                  // whether a death of it is not alone at its time
    bool fits;                  // whether its risks fit Number
    bool continues;             // whether its first stratum began in a tile before
    index_t first_end;          // position at which its first stratum ends, or the tile
    Number before, last;        // sums of risks: of its first stratum in earlier tiles, of its last stratum in it
    hazards first_sum, beyond;  // of hazards: of its first stratum in it, of its last stratum in later tiles
    total sum;
  };

  cox_passes(cpu_context& ctx, const risk_plan<host_space>& plan, ties method)
      : ctx_(ctx), plan_(plan), method_(method), tiles_((plan.rows + rows_of_task - 1) / rows_of_task) {}

  /// Whether what a time gives its deaths' derivatives is kept by position, for it is needed in another order.
  [[nodiscard]] bool by_row() const { return plan_.until != nullptr || method_ == ties::exact; }
  /// f(begin, end, tile)
  template <class F>
  void for_each_tile(const F& f) {
    in_pieces(ctx_, plan_.rows, rows_of_task, [&](index_t begin, index_t end, index_t t) { f(begin, end, tile_[t]); });
  }
  [[nodiscard]] index_t count_event_times() {
    for_each_tile([&](index_t begin, index_t end, tile& of) {
      index_t count = 0, tied = 0;
      for (index_t k = begin; k < end; ++k) {
        count += starts_deaths(plan_, k) ? 1 : 0;
        tied += (plan_.mark[k] & risk_mark::death) != 0 && plan_.mark[k] != risk_mark::alone ? 1 : 0;
      }
      of.first_event = count;
      of.ties = tied > 0;
    });
    index_t sum = 0;
    for (index_t t = 0; t < tiles_; ++t) sum += std::exchange(tile_[t].first_event, sum);
    return sum;
  }

  template <class T>
  [[nodiscard]] bool sum_risks(vector_view<const T> score, const risk_ranges& ranges) {
    for_each_tile([&](index_t begin, index_t end, tile& of) {
      of.fits = weigh_risks(score, plan_, begin, end, risk_);
      of.first_end = end;
      Number others[rows_of_task];
      index_t events = 0;
      for_each_stratum(plan_, begin, end, [&](index_t from, index_t to) {
        of.first_end = from == begin ? to : of.first_end;
        Number sum{};
        for (index_t k = from; k < to; ++k) {
          others[events] = sum;  // who dies is not to be foreseen: to write always costs less than a jump
          events += starts_deaths(plan_, k) ? 1 : 0;
          sum += risk_[k];
        }
        of.last = sum;
      });
      for (index_t i = 0; i < events; ++i) time_[of.first_event + i].all.x[0] = others[i];
    });
    bool fit = true;
    Number sum{};
    for (index_t t = 0, k = 0; t < tiles_; ++t, k += rows_of_task) {
      tile& of = tile_[t];
      fit = fit && of.fits;
      of.continues = !starts_stratum(plan_, k);
      of.before = of.continues ? sum : Number{};
      sum = of.first_end < std::min(plan_.rows, k + rows_of_task) ? of.last : of.before + of.last;
    }
    if (fit && plan_.until != nullptr) sum_ranges(ranges);
    return fit;
  }
  void sum_ranges(const risk_ranges& ranges) {
    auto scratch = ctx_.workspace().open();
    auto* const room = scratch.template take<hazards>(ranges.room(plan_));
    auto* const others = scratch.template take<hazards>(plan_.groups);
    ranges.spread(
        plan_, [&](index_t k) { return hazards{{risk_[k]}}; }, room, others);
    for_each_tile([&](index_t begin, index_t end, tile& of) {
      of.continues = false;
      for_each_event_time(plan_, begin, end, of.ties, [&](index_t i, index_t first, index_t) {
        time_[of.first_event + i].all = others[plan_.group[first]];
      });
    });
  }

  total visit_event_times() {
    for_each_tile([&](index_t begin, index_t end, tile& of) {
      log_sum loss;
      double events = 0;
      of.first_sum = {};
      if constexpr (std::same_as<Number, double> && Order < 2)
        if (!of.ties && !by_row() && plan_.weight == nullptr && of.first_end == end) {
          of.sum.events = visit_all_alone(begin, end, of, loss);
          of.sum.loss = loss.sum();
          return;
        }
      const Number before = of.continues ? of.before : Number{};
      for_each_event_time(plan_, begin, end, of.ties, [&](index_t i, index_t first, index_t last) {
        event_time& at = time_[of.first_event + i];
        const bool of_first = first < of.first_end;
        if (of_first) at.all.x[0] = before + at.all.x[0];
        events += visit(at, first, last, loss);
        if (of_first) of.first_sum += at.all;
        if constexpr (Order > 0)
          if (by_row())
            for_each_own(at, first, last, [&](index_t k, const std::array<double, Order>& d) {
              for (int o = 0; o < Order; ++o) own_[o][k] = d[static_cast<std::size_t>(o)];
            });
      });
      of.sum = {loss.sum(), events};
    });
    total all{0, 0};
    for (index_t t = 0; t < tiles_; ++t) {
      all.loss += tile_[t].sum.loss;
      all.events += tile_[t].sum.events;
    }
    return all;
  }

  /// The loss and the hazards of an event time; returns the weight of its deaths.
  double visit(event_time& at, index_t first, index_t last, log_sum& loss) {
    if (last - first == 1) return visit_alone(at, first, weight_of(plan_, first), loss);
    const auto tie = tie_of(plan_, risk_, at.all.x[0], first, last, method_);
    at = {};
    if (tie.steps == 0) return tie.weight;
    for (index_t k = first; k < last; ++k)
      if (const double w = weight_of(plan_, k); w > 0) add_loss(risk_[k], w, tie.at_risk, loss);
    for (index_t l = 1; l < tie.steps; ++l) loss.add(tie.share(), tie.part(l));  // what Efron's smaller sets have less
    if constexpr (Order > 0) {
      const Number unit = reciprocal(tie.at_risk);
      const auto h = sum_of_steps(tie, cox_hazard{});
      at.all.x[0] = unit * h.all;
      at.own.x[0] = unit * h.own;
      if constexpr (Order > 1) {
        const auto squared = sum_of_steps(tie, cox_squared_hazard{});
        at.all.x[1] = unit * unit * squared.all;
        at.own.x[1] = unit * unit * squared.own;
      }
    }
    return tie.weight;
  }
  /// Of a death alone at its time, r hazard - w = -w others / S: no digits are lost however much of S is its own.
  double visit_alone(event_time& at, index_t k, double w, log_sum& loss) {
    const Number r = risk_[k], others = at.all.x[0], at_risk = others + r;
    if (!(w > 0)) {
      at = {};
      return 0;
    }
    add_loss(r, w, at_risk, loss);
    if constexpr (Order > 0) {
      const double others_part = ratio(others, at_risk);
      at.all.x[0] = is_moderate(w) ? quotient(w, at_risk) : reciprocal(at_risk) * w;
      at.own.x[0] = number(-w * others_part);
      if constexpr (Order > 1) {
        at.own.x[1] = at.all.x[0] * others_part;
        at.all.x[1] = reciprocal(at_risk) * at.all.x[0];
      }
    }
    return w;
  }
  /// The same for a tile of one stratum without weights where every death is alone: in loops that become SIMD code.
  double visit_all_alone(index_t begin, index_t end, tile& of, log_sum& loss) {
    double r[rows_of_task], to_risk[rows_of_task], before = of.continues ? of.before : 0;
    event_time* const at = time_ + of.first_event;
    index_t count = 0;
    for (index_t k = begin; k < end; ++k) {
      r[count] = risk_[k];
      count += starts_deaths(plan_, k) ? 1 : 0;
    }
    for (index_t i = 0; i < count; ++i) {
      const double others = before + at[i].all.x[0], at_risk = others + r[i], hazard = 1 / at_risk;
      to_risk[i] = at_risk / r[i];
      at[i].all.x[0] = hazard;
      at[i].own.x[0] = -(others * hazard);
    }
    for (index_t i = 0; i < count; ++i) {
      of.first_sum += at[i].all;
      loss.add(1, to_risk[i]);
    }
    return static_cast<double>(count);
  }
  [[nodiscard]] static Number number(double x) {
    if constexpr (std::same_as<Number, double>) return x;
    else return {x, 0};
  }

  /// Groups of several deaths under exact ties. Second derivatives need the chances at every time by themselves.
  double visit_exact_ties() {
    auto scratch = ctx_.workspace().open();
    double loss = 0;
    for_each_exact_chain(scratch, plan_, Order > 1, [&](const index_t* at, const exact_tie* tie, index_t count) {
      auto frame = ctx_.workspace().open();
      const exact_chain<wide_number> chain(tie, count);
      const auto risk = [&](index_t j) { return risk_[at[j]]; };
      loss += chain.loss(frame, risk);
      if constexpr (Order > 0)
        chain.differentiate(frame, risk, [&](index_t j, const wide_number& r) {
          const double chance = to_double(r);
          own_[0][at[j]] += chance;
          if constexpr (Order > 1) own_[1][at[j]] += chance * (1 - chance);
        });
    });
    return loss;
  }

  /// add(k, d) for the deaths first .. last - 1 of one time, d what that time gives their derivatives.
  template <class Add>
  void for_each_own(const event_time& at, index_t first, index_t last, const Add& add) const {
    for (index_t k = first; k < last; ++k) {
      if (plan_.mark[k] == risk_mark::alone) {
        add(k, own_of_alone(at, k));
        continue;
      }
      std::array<double, Order> d;
      d[0] = plain_product(risk_[k], at.own.x[0]) - weight_of(plan_, k);
      if constexpr (Order > 1) d[1] = second_derivative(risk_[k], at.own.x[0], at.own.x[1]);
      add(k, d);
    }
  }
  [[nodiscard]] std::array<double, Order> own_of_alone(const event_time& at, index_t k) const {
    std::array<double, Order> d{to_double(at.own.x[0])};
    if constexpr (Order > 1) d[1] = plain_product(risk_[k], at.own.x[1]);
    return d;
  }
  static double second_derivative(const Number& r, const Number& hazard, const Number& squared) {
    return std::max(plain_product(r, hazard) - plain_product(r, r * squared), 0.0);
  }
  /// From the hazards of the times at which position k is at risk, but for that of its death.
  [[nodiscard]] std::array<double, Order> derivatives(index_t k, const hazards& h) const {
    const Number r = risk_[k];
    std::array<double, Order> d;
    d[0] = plain_product(r, h.x[0]);
    if constexpr (Order > 1) d[1] = second_derivative(r, h.x[0], h.x[1]);
    return d;
  }
  template <class Output>
  void write(index_t k, const std::array<double, Order>& d, double scale, const Output& out) const {
    using T = std::remove_reference_t<decltype(*out.value)>;
    const index_t row = plan_.row[k];
    if (Order < 2 || out.gradient.size != 0) out.gradient[row] = static_cast<T>(scale * d[0]);
    if constexpr (Order > 1) out.hessian_diagonal[row] = static_cast<T>(scale * d[1]);
  }

  template <class Output>
  void differentiate(const risk_ranges& ranges, double scale, const Output& out) {
    if (plan_.until != nullptr) return gather_ranges(ranges, scale, out);
    for (index_t t = tiles_ - 1; t >= 0; --t) {
      tile& of = tile_[t];
      of.beyond = {};
      if (t + 1 == tiles_ || !tile_[t + 1].continues) continue;
      const tile& next = tile_[t + 1];
      of.beyond = next.first_sum;
      if (next.first_end == std::min(plan_.rows, (t + 2) * rows_of_task)) of.beyond += next.beyond;
    }
    for_each_tile([&](index_t begin, index_t end, tile& of) { differentiate_tile(begin, end, of, scale, out); });
  }
  template <class Output>
  void differentiate_tile(index_t begin, index_t end, const tile& of, double scale, const Output& out) {
    const bool direct = !by_row() && !of.ties;  // rows need no second look
    const std::uint8_t marked = by_row() ? 0xFF : risk_mark::alone;
    std::array<double, Order> d[rows_of_task];
    const auto store = [&](index_t k, const std::array<double, Order>& of_row) {
      prefetch_ahead<1>(plan_, k, out.gradient.size != 0 ? out.gradient : out.hessian_diagonal);
      write(k, of_row, scale, out);
    };
    event_time* at = time_ + of.first_event;
    for_each_stratum(plan_, begin, end, [&](index_t from, index_t to) {
      const event_time* const first = at;
      for (index_t k = from; k < to; ++k) at += starts_deaths(plan_, k) ? 1 : 0;
      const event_time* const last = at;
      hazards sum = to == end ? of.beyond : hazards{};
      const hazards rest = sum;  // for those at risk at no time of this tile
      for (event_time* i = at; i-- != first;) i->all = sum += i->all;
      const event_time* next = first;
      for (index_t k = from; k < to; ++k) {
        next += starts_deaths(plan_, k) ? 1 : 0;
        auto of_row = derivatives(k, *(next == last ? &rest : &next->all));
        const bool is_alone = plan_.mark[k] == marked;
        const auto own = own_of_alone(next[-1], k);
        for (std::size_t i = 0; i < own.size(); ++i) of_row[i] += is_alone ? own[i] : 0.0;
        if (direct) store(k, of_row);
        else d[k - begin] = of_row;
      }
    });
    if (direct) return;
    const auto add = [&](index_t k, const std::array<double, Order>& own) {
      for (std::size_t i = 0; i < own.size(); ++i) d[k - begin][i] += own[i];
    };
    if (by_row()) {
      for (index_t k = begin; k < end; ++k)
        for (int i = 0; i < Order; ++i) d[k - begin][static_cast<std::size_t>(i)] += own_[i][k];
    } else if (of.ties) {
      index_t k = begin;  // deaths of a time whose first is in an earlier tile
      while (k < end && (plan_.mark[k] & risk_mark::death) != 0 && !starts_deaths(plan_, k)) ++k;
      for_each_own(time_[of.first_event - 1], begin, k, add);
      for_each_event_time(plan_, begin, end, of.ties, [&](index_t i, index_t first, index_t last) {
        if (last - first > 1) for_each_own(time_[of.first_event + i], first, std::min(last, end), add);
      });
    }
    for (index_t k = begin; k < end; ++k) store(k, d[k - begin]);
  }
  template <class Output>
  void gather_ranges(const risk_ranges& ranges, double scale, const Output& out) {
    auto scratch = ctx_.workspace().open();
    auto* const room = scratch.template take<hazards>(ranges.room(plan_));
    auto* const step = scratch.template take<hazards>(plan_.groups);
    std::fill_n(step, plan_.groups, hazards{});
    for_each_tile([&](index_t begin, index_t end, const tile& of) {
      for_each_event_time(plan_, begin, end, of.ties, [&](index_t i, index_t first, index_t) {
        step[plan_.group[first]] = time_[of.first_event + i].all;
      });
    });
    ranges.gather(plan_, step, room, [&](index_t k, const hazards& h) {
      auto d = derivatives(k, h);
      for (int i = 0; i < Order; ++i) d[static_cast<std::size_t>(i)] += own_[i][k];
      write(k, d, scale, out);
    });
  }

  cpu_context& ctx_;
  const risk_plan<host_space>& plan_;
  ties method_;
  index_t tiles_;
  tile* tile_ = nullptr;        // [tiles]
  Number* risk_ = nullptr;      // [rows]
  event_time* time_ = nullptr;  // by tile
  double* own_[sums] = {};      // [rows] if by_row
};

}  // namespace stroma::detail
