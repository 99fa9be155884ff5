#pragma once
#include <iosfwd>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <stroma/core/context.hpp>

#include "program.hpp"

namespace program {

/// Everything `stroma evaluate` says of one group's scores beside Harrell's C by fold.
[[nodiscard]] json judge_scores(stroma::cpu_context& ctx, const std::vector<double>& score,
                                const std::vector<double>& time, const std::vector<double>& event);
/// Kaplan-Meier curves of the two halves by score, as an SVG picture.
[[nodiscard]] std::string median_split_picture(stroma::cpu_context& ctx, const std::string& title,
                                               const std::vector<double>& score, const std::vector<double>& time,
                                               const std::vector<double>& event);
/// 1 for scores above the median, else 0.
[[nodiscard]] std::vector<double> above_median(const std::vector<double>& score);
/// The same as lines for the screen.
void print_judgement(std::ostream& out, const json& judgement);

}  // namespace program
