#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/random.hpp>
#include <stroma/taskvector/detail/magnitude_cut.hpp>
#include <stroma/taskvector/detail/scope.hpp>
#include <stroma/taskvector/merge.hpp>

namespace stroma {

/// What makes up for dropped elements.
enum class rescaling {
  probability,  ///< those kept are divided by the probability with which they were: the published rule, mean-preserving
  magnitude,    ///< all are multiplied so that the tensor's sum of magnitudes stays: mergekit's
  none
};

namespace detail {

/// The task vectors of one tensor, each thinned out in its own memory.
template <class T>
struct thinned_vectors {
  std::span<const T* const> vectors;
  index_t kept = 0;  ///< elements that are not 0
};

/// thin(task, vector [size], spare [size]) thins out each task vector where it lies; tasks run in parallel and may not
/// use the workspace. The result lives as long as the frame.
template <class T, class Frame, class Thin>
[[nodiscard]] thinned_vectors<T> thin_vectors(cpu_context& ctx, Frame& scratch, const tensor_slices<T>& s,
                                              Thin&& thin) {
  const index_t size = s.size(), models = static_cast<index_t>(s.models.size());
  const T** const vectors = scratch.template take<const T*>(models);
  index_t* const kept = scratch.template take<index_t>(models);
  T* const memory = scratch.template take<T>(size * models);
  T* const spare = scratch.template take<T>(size * ctx.threads());  // any worker may take any task
  ctx.parallel(models, [&](index_t t, int worker) {
    T* const v = memory + t * size;
    const T* const from = s.models[static_cast<std::size_t>(t)];
    for (index_t i = 0; i < size; ++i) v[i] = s.base != nullptr ? from[i] - s.base[i] : from[i];
    thin(t, v, spare + worker * size);
    kept[t] = size - static_cast<index_t>(std::count(v, v + size, T(0)));
    vectors[t] = v;
  });
  index_t sum = 0;
  for (index_t t = 0; t < models; ++t) sum += kept[t];
  return {{vectors, s.models.size()}, sum};
}

/// The part of `count` elements that a density asks for; at least one, so that no small tensor vanishes.
[[nodiscard]] inline index_t kept_count(double density, index_t count) {
  const auto part = static_cast<index_t>(density * static_cast<double>(count));
  return density > 0 && count > 0 ? std::max<index_t>(part, 1) : 0;
}

/// f(row [cols], count) for the rows of one tensor, or for all of it at once.
template <class T, class F>
void for_each_scope(merge_scope scope, const tensor_slices<T>& s, T* vector, F&& f) {
  if (scope == merge_scope::tensor) return f(vector, s.size());
  for (index_t r = 0; r < s.rows; ++r) f(vector + r * s.cols, s.cols);
}

/// Multiplies what was kept so that the sum of magnitudes is what it was before thinning.
template <class T>
void restore_magnitude(double before, index_t count, T* x) {
  double after = 0;
  for (index_t i = 0; i < count; ++i) after += std::fabs(static_cast<double>(x[i]));
  if (after == 0) return;
  for (index_t i = 0; i < count; ++i) x[i] = static_cast<T>(static_cast<double>(x[i]) * (before / after));
}
template <class T>
[[nodiscard]] double total_magnitude(index_t count, const T* x) {
  double sum = 0;
  for (index_t i = 0; i < count; ++i) sum += std::fabs(static_cast<double>(x[i]));
  return sum;
}

/// Draws that belong to seed, tensor, task and element alone: neither the order of tensors nor threads matter.
class element_draws {
 public:
  element_draws(std::uint64_t seed, std::string_view tensor, index_t task, std::uint32_t consumer)
      : key_{seed ^ hash_of(tensor), static_cast<std::uint32_t>(task), consumer} {}
  /// f(element, number in [0, 1)) for elements 0 .. count - 1.
  template <class F>
  void for_each(index_t count, F&& f) const {
    for (index_t i = 0; i < count; i += 4) {
      const auto words = key_.words(static_cast<std::uint64_t>(i / 4));
      for (index_t k = 0; k < std::min<index_t>(4, count - i); ++k)
        f(i + k, unit_float(words[static_cast<std::size_t>(k)]));
    }
  }

 private:
  /// FNV-1a, and a last mixing so that names alike give keys that are not.
  static std::uint64_t hash_of(std::string_view text) {
    std::uint64_t h = 0xcbf29ce484222325u;
    for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
  }
  random_key key_;
};

}  // namespace detail
}  // namespace stroma
