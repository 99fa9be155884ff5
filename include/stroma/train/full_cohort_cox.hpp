#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include <stroma/autodiff/graph.hpp>
#include <stroma/survival/cox_partial_likelihood.hpp>

namespace stroma {

template <class T, class Backend = backend::cpu>
struct full_cohort_cox_options {
  /// For the first pass, which needs values alone: an inference graph is faster, but draws no random numbers, so a
  /// model with dropout must leave this empty. Empty: the recording graph makes both passes, with the same draws.
  graph<T, Backend>* scorer = nullptr;
  cox_options cox = {};
  std::uint64_t seed = 0;  ///< of random draws
  std::uint32_t step = 0;  ///< bag i draws with step + i: a call takes as many steps as there are bags
};

namespace detail {

/// The node of one bag's score, alone on its graph.
template <class T, class Backend, class Score>
node score_of_bag(graph<T, Backend>& g, index_t bag, Score& score, const full_cohort_cox_options<T, Backend>& options) {
  g.reset();
  g.set_random(options.seed, options.step + static_cast<std::uint32_t>(bag));
  const node out = score(g, bag);
  const auto found = g.shape(out);
  if (found.rows != 1 || found.cols != 1)
    throw shape_error(error_message("full_cohort_cox", "score",
                                    "shape " + std::to_string(found.rows) + " x " + std::to_string(found.cols),
                                    "1 x 1"));
  return out;
}

/// The derivative belongs to the scores of the first pass: they must be those of the second.
template <class T>
void check_same_score(index_t bag, T first, T second) {
  const T tolerance = std::sqrt(std::numeric_limits<T>::epsilon()) * (1 + std::abs(first));
  if (std::abs(first - second) <= tolerance) return;
  throw value_error(error_message("full_cohort_cox", "score",
                                  number_text(static_cast<double>(second)) + " for bag " + std::to_string(bag) + ", " +
                                      number_text(static_cast<double>(first)) + " in the first pass",
                                  "the same in both (a model with random draws needs options.scorer empty)"));
}

}  // namespace detail

/// The loss of Cox's model over a whole cohort and its exact gradient, in the memory of one bag: pass 1 takes every
/// bag's score, cox_partial_likelihood gives d loss / d score, pass 2 runs each bag again and sends its number
/// backward. The gradient is that of one graph of all bags, to rounding; mini-batches give another function's.
/// @param g      a training graph to which the model is bound; gradients are added
/// @param order  the cohort, patient i being bag i
/// @param score  score(graph, bag) -> node of one log hazard
/// Cost: two forward passes and a backward one; beside one bag's graph, two numbers a bag. The same bits for any number
/// of threads.
/// @throws value_error  a graph for inference, scores that are not finite or differ between the passes   @throws
/// shape_error
template <class T, class Backend, class Score>
T full_cohort_cox(graph<T, Backend>& g, const risk_order<Backend>& order, Score&& score,
                  const full_cohort_cox_options<T, Backend>& options = {}) {
  using ops = primitives<Backend>;
  using space = typename Backend::space;
  check::require(g.recording(), "full_cohort_cox", "g", "a graph for inference", "one made for training");
  auto& ctx = g.context();
  const index_t bags = order.size();
  auto scratch = ctx.workspace().open();
  T* const scores = scratch.template take<T>(bags);
  T* const derivative = scratch.template take<T>(bags);
  T* const loss = scratch.template take<T>(1);

  graph<T, Backend>& scorer = options.scorer != nullptr ? *options.scorer : g;
  for (index_t i = 0; i < bags; ++i)
    ops::copy(ctx, scorer.value(detail::score_of_bag(scorer, i, score, options)),
              matrix_view<T, space>(scores + i, 1, 1));
  scorer.reset();
  cox_partial_likelihood(ctx, vector_view<const T, space>(scores, bags), order,
                         cox_output<T, space>{loss, vector_view<T, space>(derivative, bags)}, options.cox);
  for (index_t i = 0; i < bags; ++i) {
    const node out = detail::score_of_bag(g, i, score, options);
    if (options.cox.check_values) detail::check_same_score(i, ops::read(ctx, scores + i), g.scalar_value(out));
    g.backward(out, matrix_view<const T, space>(derivative + i, 1, 1));
  }
  g.reset();
  return ops::read(ctx, loss);
}

}  // namespace stroma
