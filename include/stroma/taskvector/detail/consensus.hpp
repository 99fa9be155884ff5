#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/optim/parameter_update.hpp>
#include <stroma/taskvector/merge.hpp>
#include <stroma/taskvector/weighted_sum.hpp>

namespace stroma {

/// What decides the sign that an element of the merged task vector has.
enum class sign_vote {
  none,  ///< nothing: all task vectors are added up, whatever their signs
  sum,   ///< the sign of the weighted sum
  count  ///< each task vector has one vote, whatever its size
};
/// The sign of an element whose vote is 0.
enum class zero_vote {
  majority,  ///< the sign of most elements with a vote, of the model or the tensor; negative if that is a tie too
  positive   ///< mergekit's
};
/// What becomes of an element's values that have the elected sign. (The others are left out.)
enum class agreeing {
  mean,    ///< their weighted mean
  sum,     ///< their weighted sum
  largest  ///< the one of the largest size, with its weight
};

namespace detail {

/// How several task vectors become one. Rules have these among their options.
struct consensus {
  std::vector<double> weights;
  double scale = 1;
  sign_vote vote = sign_vote::sum;
  zero_vote zero = zero_vote::majority;
  agreeing merge = agreeing::mean;

  void begin(std::string_view function, index_t models) {
    check::require(std::isfinite(scale), function, "options.scale", number_text(scale), "a finite number");
    if (weights.empty()) weights.assign(static_cast<std::size_t>(models), 1.0);
    check_weights(function, weights, static_cast<std::size_t>(models));
    if (vote != sign_vote::none && merge == agreeing::mean)
      for (std::size_t t = 0; t < weights.size(); ++t)
        check::require(weights[t] >= 0, function, "options.weights[" + std::to_string(t) + "]", number_text(weights[t]),
                       "0 or more (of a mean)");
  }

  /// How many more elements have a positive vote than a negative one.
  template <class T>
  [[nodiscard]] index_t balance(cpu_context& ctx, index_t count, std::span<const T* const> vectors) const {
    const index_t pieces = (count + update_piece - 1) / update_piece;
    auto scratch = ctx.workspace().open();
    index_t* const of_piece = scratch.template take<index_t>(pieces);
    for_each_piece(ctx, count, [&](index_t first, index_t part) {
      index_t sum = 0;
      std::array<double, tile> votes;
      for (index_t i = 0; i < part; i += tile) {
        const index_t n = std::min(tile, part - i);
        count_votes(first + i, n, vectors, votes.data());
        for (index_t k = 0; k < n; ++k)
          sum += (votes[std::size_t(k)] > 0 ? 1 : 0) - (votes[std::size_t(k)] < 0 ? 1 : 0);
      }
      of_piece[first / update_piece] = sum;
    });
    index_t sum = 0;
    for (index_t p = 0; p < pieces; ++p) sum += of_piece[p];
    return sum;
  }
  /// The sign of a zero vote where `balance` is that of the scope.
  [[nodiscard]] double zero_sign(index_t balance) const {
    return zero == zero_vote::positive || balance > 0 ? 1.0 : -1.0;
  }
  [[nodiscard]] bool needs_balance() const { return vote != sign_vote::none && zero == zero_vote::majority; }

  /// One tensor whose zero votes are its own matter.
  template <class T>
  void merge_tensor(cpu_context& ctx, const tensor_slices<T>& s, std::span<const T* const> vectors, T* out) const {
    const double zero_is = zero_sign(needs_balance() ? balance(ctx, s.size(), vectors) : 0);
    run(ctx, s.size(), s.base, vectors, zero_is, out);
  }

  /// out = base + scale * the merged task vector; base null: without.
  template <class T>
  void run(cpu_context& ctx, index_t count, const T* base, std::span<const T* const> vectors, double zero_is,
           T* out) const {
    for_each_piece(ctx, count, [&](index_t first, index_t part) {
      std::array<double, tile> merged;
      for (index_t i = 0; i < part; i += tile) {
        const index_t at = first + i, n = std::min(tile, part - i);
        if (vote == sign_vote::none) sum_all(at, n, vectors, merged.data());
        else merge_agreeing(at, n, vectors, zero_is, merged.data());
        for (index_t k = 0; k < n; ++k)
          out[at + k] = static_cast<T>((base != nullptr ? static_cast<double>(base[at + k]) : 0.0) +
                                       scale * merged[static_cast<std::size_t>(k)]);
      }
    });
  }

 private:
  static constexpr index_t tile = 512;

  template <class T>
  void sum_all(index_t at, index_t n, std::span<const T* const> vectors, double* sum) const {
    std::fill_n(sum, n, 0.0);
    for (std::size_t t = 0; t < vectors.size(); ++t)
      for (index_t i = 0; i < n; ++i) sum[i] += weights[t] * static_cast<double>(vectors[t][at + i]);
  }
  template <class T>
  void count_votes(index_t at, index_t n, std::span<const T* const> vectors, double* votes) const {
    if (vote == sign_vote::sum) return sum_all(at, n, vectors, votes);
    std::fill_n(votes, n, 0.0);
    for (std::size_t t = 0; t < vectors.size(); ++t)
      for (index_t i = 0; i < n; ++i) {
        const double value = weights[t] * static_cast<double>(vectors[t][at + i]);
        votes[i] += (value > 0 ? 1.0 : 0.0) - (value < 0 ? 1.0 : 0.0);
      }
  }
  template <class T>
  void merge_agreeing(index_t at, index_t n, std::span<const T* const> vectors, double zero_is, double* merged) const {
    std::array<double, tile> sign, total{};
    count_votes(at, n, vectors, sign.data());
    for (index_t i = 0; i < n; ++i) {
      double& s = sign[static_cast<std::size_t>(i)];
      s = s > 0 ? 1.0 : s < 0 ? -1.0 : zero_is;
    }
    std::fill_n(merged, n, 0.0);
    for (std::size_t t = 0; t < vectors.size(); ++t)
      for (index_t i = 0; i < n; ++i) {
        const double value = weights[t] * static_cast<double>(vectors[t][at + i]);
        const bool agrees = value * sign[static_cast<std::size_t>(i)] > 0;
        if (merge == agreeing::largest) {
          if (agrees && std::fabs(value) > std::fabs(merged[i])) merged[i] = value;
        } else {
          merged[i] += agrees ? value : 0.0;
          total[static_cast<std::size_t>(i)] += agrees ? weights[t] : 0.0;
        }
      }
    if (merge == agreeing::mean)
      for (index_t i = 0; i < n; ++i)
        if (total[static_cast<std::size_t>(i)] != 0) merged[i] /= total[static_cast<std::size_t>(i)];
  }
};

}  // namespace detail
}  // namespace stroma
