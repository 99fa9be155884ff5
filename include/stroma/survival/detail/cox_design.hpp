#pragma once
#include <string_view>

#include <stroma/backend/checks.hpp>
#include <stroma/survival/detail/risk_moments.hpp>

namespace stroma::detail {

/// Weighted mean and scatter of a column.
struct column_moments {
  double mean = 0, scatter = 0;
  /// `total` is the sum of the weights, with w.
  void add(double x, double w, double total) {
    if (!(w > 0)) return;
    const double away = x - mean;
    mean += away * (w / total);
    scatter += w * away * (x - mean);
  }
  /// The standard deviation; 1 for a column that does not vary.
  [[nodiscard]] double scale(double total) const { return scatter > 0 ? std::sqrt(scatter / total) : 1; }
};

/// Columns of the covariates in the order of a plan, about their weighted mean and in units of their standard
/// deviation. A shift or a unit of a covariate so has no bearing on what is computed but for rounding.
struct cox_design {
  scored_rows rows{};
  index_t count{};             ///< rows
  double* covariate{};         ///< [count, width]
  double* score{};             ///< [count] offset + covariates x coefficients
  const double* offset{};      ///< [count] by position, or null
  double *centre{}, *scale{};  ///< [width]
  column_moments* moments{};   ///< [width]

  template <class Frame>
  [[nodiscard]] static cox_design in(Frame& scratch, const risk_plan<host_space>& plan, index_t width) {
    cox_design d;
    d.count = plan.rows;
    d.covariate = scratch.template take<double>(plan.rows * width);
    d.score = scratch.template take<double>(plan.rows);
    d.centre = scratch.template take<double>(width);
    d.scale = scratch.template take<double>(width);
    d.moments = scratch.template take<column_moments>(width);
    d.rows = {width, d.covariate, d.score, plan.weight};
    return d;
  }

  /// From columns of x, by number; null: all as they are. Rows are read one after another.
  template <class T>
  void set_columns(matrix_view<const T> x, const index_t* column, const risk_plan<host_space>& plan) {
    const index_t width = rows.width;
    double total = 0;
    std::fill_n(moments, width, column_moments{});
    for (index_t k = 0; k < count; ++k) {
      const double w = rows.weight_at(k);
      double* const to = covariate + k * width;
      total += w;
      for (index_t j = 0; j < width; ++j) {
        to[j] = static_cast<double>(x(plan.row[k], column == nullptr ? j : column[j]));
        moments[j].add(to[j], w, total);
      }
    }
    for (index_t j = 0; j < width; ++j) {
      centre[j] = moments[j].mean;
      scale[j] = moments[j].scale(total);
    }
    for (index_t k = 0; k < count; ++k)
      for (index_t j = 0; j < width; ++j) {
        double& z = covariate[k * width + j];
        z = (z - centre[j]) / scale[j];
      }
  }

  template <class Frame>
  void set_offset(Frame& scratch, const number_view<>& by_row, const risk_plan<host_space>& plan) {
    if (by_row.size == 0) return;
    auto* const to = scratch.template take<double>(plan.rows);
    for (index_t k = 0; k < plan.rows; ++k) to[k] = by_row[plan.row[k]];
    offset = to;
  }

  /// score = offset + covariates x coefficients, the coefficients of the scaled columns
  void predict(const double* coefficient) {
    for (index_t k = 0; k < count; ++k) {
      const double* const x = rows.covariates(k);
      double sum = offset == nullptr ? 0 : offset[k];
      for (index_t j = 0; j < rows.width; ++j) sum += x[j] * coefficient[j];
      score[k] = sum;
    }
  }
};

[[nodiscard]] inline double weight_of_deaths(const risk_plan<host_space>& plan) {
  double sum = 0;
  for (index_t g = 0; g < plan.groups; ++g)
    for (index_t k = plan.deaths[g]; k < plan.first[g + 1]; ++k) sum += plan.weight == nullptr ? 1 : plan.weight[k];
  return sum;
}

template <class T>
void check_cox_data(cpu_context& ctx, std::string_view name, matrix_view<const T> x, const risk_plan<host_space>& plan,
                    ties method, const number_view<>& offset, bool check_values) {
  check::length(name, "covariates", x.rows, plan.rows, "the length of order");
  if (offset.size != 0) check::length(name, "offset", offset.size, x.rows, "the rows of covariates");
  check::require(method != ties::exact || plan.weight == nullptr, name, "order", "a weighted cohort",
                 "one without weights, for exact ties");
  if (check_values) {
    value_checks<backend::cpu>::finite(ctx, name, "covariates", x);
    value_checks<backend::cpu>::finite(ctx, name, "offset", offset);
  }
  check::require(weight_of_deaths(plan) > 0, name, "event", "none", "1 or more of positive weight");
}

}  // namespace stroma::detail
