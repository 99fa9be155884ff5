#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/taskvector/weighted_sum.hpp>

namespace stroma {

/// When a soup takes an ingredient.
enum class soup_rule {
  better,    ///< its score rises: the authors' code
  not_worse  ///< its score does not fall: the paper's text
};

struct greedy_soup_options {
  soup_rule accept = soup_rule::better;
};

struct greedy_soup_result {
  std::vector<index_t> ingredients;  ///< in the order in which they were taken
  double score = 0;                  ///< of the soup
};

/// Greedy soup: models of one task are averaged one after another, from the best downwards, as long as the average's
/// score on held-out data gains. The first is the best by itself, so the soup is never worse.
/// @param score  score(model), larger is better; called once for each model and once for each average
/// @param out    of the models' extents, overwritten; none of them
/// Of models with equal scores the first goes first. Averages are in double, each made anew from its ingredients.
/// Cost: 2 N - 1 calls of score, memory of one model. @throws value_error  no model, a score of NaN   @throws
/// shape_error Reference: Wortsman et al., "Model soups", ICML 2022.
template <execution_context Context, class Model, class Score>
  requires std::is_invocable_r_v<double, Score&, const Model&>
greedy_soup_result greedy_soup(Context& ctx, std::span<const std::type_identity_t<Model>> models, Score&& score,
                               Model& out, const greedy_soup_options& options = {}) {
  check::require(!models.empty(), "greedy_soup", "models", "none", "1 or more");
  const auto judge = [&](const Model& model, std::string_view what) {
    const double s = score(model);
    check::require(!std::isnan(s), "greedy_soup", what, "a score of NaN", "a number");
    return s;
  };
  std::vector<double> alone;
  std::vector<index_t> order;
  for (const Model& m : models) {
    order.push_back(static_cast<index_t>(order.size()));
    alone.push_back(judge(m, "models[" + std::to_string(order.back()) + "]"));
  }
  std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t b) {
    return alone[static_cast<std::size_t>(a)] > alone[static_cast<std::size_t>(b)];
  });
  std::vector<double> weights(models.size(), 0.0);
  const auto mix = [&](std::span<const index_t> ingredients) {
    std::fill(weights.begin(), weights.end(), 0.0);
    for (const index_t i : ingredients)
      weights[static_cast<std::size_t>(i)] = 1.0 / static_cast<double>(ingredients.size());
    weighted_sum(ctx, models, weights, out);
  };
  greedy_soup_result soup{{order[0]}, alone[static_cast<std::size_t>(order[0])]};
  for (std::size_t k = 1; k < order.size(); ++k) {
    soup.ingredients.push_back(order[k]);
    mix(soup.ingredients);
    const double s = judge(out, "an average");
    const bool taken = options.accept == soup_rule::better ? s > soup.score : s >= soup.score;
    if (taken) soup.score = s;
    else soup.ingredients.pop_back();
  }
  mix(soup.ingredients);
  return soup;
}

}  // namespace stroma
