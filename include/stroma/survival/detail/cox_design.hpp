#pragma once
#include <stroma/survival/detail/risk_moments.hpp>

namespace stroma::detail {

/// Columns of the covariates in the order of a plan, about their weighted mean and in units of their standard
/// deviation. A shift or a unit of a covariate so has no bearing on what is computed but for rounding.
struct cox_design {
  scored_rows rows{};
  index_t count{};             ///< rows
  double* covariate{};         ///< [count, width]
  double* score{};             ///< [count] offset + covariates x coefficients
  const double* offset{};      ///< [count] by position, or null
  double *centre{}, *scale{};  ///< [width]

  template <class Frame>
  [[nodiscard]] static cox_design in(Frame& scratch, const risk_plan<host_space>& plan, index_t width) {
    cox_design d;
    d.count = plan.rows;
    d.covariate = scratch.template take<double>(plan.rows * width);
    d.score = scratch.template take<double>(plan.rows);
    d.centre = scratch.template take<double>(width);
    d.scale = scratch.template take<double>(width);
    d.rows = {width, d.covariate, d.score, plan.weight};
    return d;
  }

  /// Column j from column `from` of x.
  template <class T>
  void set_column(index_t j, vector_view<const T> from, const risk_plan<host_space>& plan) {
    const index_t width = rows.width;
    double total = 0, mean = 0, scatter = 0;
    for (index_t k = 0; k < count; ++k) {
      const double x = static_cast<double>(from[plan.row[k]]), w = rows.weight_at(k);
      covariate[k * width + j] = x;
      if (!(w > 0)) continue;
      total += w;
      const double away = x - mean;
      mean += away * (w / total);
      scatter += w * away * (x - mean);
    }
    centre[j] = mean;
    scale[j] = scatter > 0 ? std::sqrt(scatter / total) : 1;
    for (index_t k = 0; k < count; ++k) covariate[k * width + j] = (covariate[k * width + j] - mean) / scale[j];
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

}  // namespace stroma::detail
