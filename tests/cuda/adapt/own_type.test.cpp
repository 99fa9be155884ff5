#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/nn/softmax.cuh>
#include <stroma/pooling/mean_pool.cuh>

#include "support/device.hpp"

// What a program had before it met stroma: the features of a slide's patches in device memory, rows padded to 64 bytes.
namespace lab {

class patches_on_device {
 public:
  patches_on_device(long patches, long features)
      : patches_(patches), features_(features), pitch_((features + 15) / 16 * 16) {
    stroma::detail::cuda_check(cudaMalloc(&cells_, static_cast<std::size_t>(patches * pitch_) * sizeof(float)), "lab",
                               "cudaMalloc");
  }
  patches_on_device(const patches_on_device&) = delete;
  patches_on_device& operator=(const patches_on_device&) = delete;
  ~patches_on_device() { static_cast<void>(cudaFree(cells_)); }

  [[nodiscard]] float* raw() { return cells_; }
  [[nodiscard]] const float* raw() const { return cells_; }
  [[nodiscard]] long patches() const { return patches_; }
  [[nodiscard]] long features() const { return features_; }
  [[nodiscard]] long pitch() const { return pitch_; }

 private:
  long patches_, features_, pitch_;
  float* cells_ = nullptr;
};

}  // namespace lab

// The six lines.
template <>
struct stroma::tensor_traits<lab::patches_on_device> {
  using scalar = float;
  using backend = stroma::backend::cuda;
  static constexpr int rank = 2;
  template <class P, class T = std::remove_pointer_t<decltype(std::declval<P&>().raw())>>
  static matrix_view<T, device_space> view(P& p) {
    return {p.raw(), p.patches(), p.features(), p.pitch(), 1};
  }
};

using namespace stroma_test;

static_assert(stroma::matrix_like<lab::patches_on_device>);
static_assert(stroma::same_space<stroma::cuda_context, lab::patches_on_device>);
static_assert(!stroma::same_space<stroma::cpu_context, lab::patches_on_device>);

namespace {

constexpr index_t patches = 9, features = 21;

/// Fills the padded rows and nothing else of `to`; what is between them stays as it was.
void upload(const stroma::array<float, 2>& from, lab::patches_on_device& to) {
  for (index_t i = 0; i < from.rows(); ++i)
    stroma::detail::cuda_check(
        cudaMemcpy(to.raw() + i * to.pitch(), from.data() + i * from.cols(),
                   static_cast<std::size_t>(from.cols()) * sizeof(float), cudaMemcpyHostToDevice),
        "upload", "cudaMemcpy");
}
stroma::array<float, 2> download(const lab::patches_on_device& from) {
  stroma::array<float, 2> to(from.patches(), from.features());
  for (index_t i = 0; i < to.rows(); ++i)
    stroma::detail::cuda_check(cudaMemcpy(to.data() + i * to.cols(), from.raw() + i * from.pitch(),
                                          static_cast<std::size_t>(to.cols()) * sizeof(float), cudaMemcpyDeviceToHost),
                               "download", "cudaMemcpy");
  return to;
}

}  // namespace

TEST_CASE("cuda: a program's own type in device memory is read and written in place") {
  const auto x = normal_matrix<float>(patches, features, 1);
  lab::patches_on_device slide(patches, features), weights(patches, features);
  upload(x, slide);
  const auto& fixed = slide;
  static_assert(std::is_same_v<decltype(stroma::as_view(fixed).data), const float*>);

  stroma::cuda_context ctx;
  stroma::softmax(ctx, fixed, weights);
  ctx.synchronize();

  const auto found = download(weights);
  const auto expected = [&](index_t r, index_t c) {
    long double sum = 0;
    for (index_t j = 0; j < features; ++j) sum += std::exp(static_cast<long double>(x(r, j)));
    return std::exp(static_cast<long double>(x(r, c))) / sum;
  };
  // Twenty-one terms below 1, one exp and one division.
  CHECK(worst_error(found, expected, (features + 8) * std::numeric_limits<float>::epsilon()) <= 1);
  CHECK(same_matrix(download(slide), x));
}

TEST_CASE("cuda: raw device pointers and extents are matrices, vectors and bags") {
  const auto x = normal_matrix<float>(patches, features, 2);
  stroma::cuda_context ctx;
  float *instances = nullptr, *pooled = nullptr;
  index_t* ends = nullptr;
  const std::vector<index_t> offsets{0, 4, patches};
  REQUIRE(cudaMalloc(&instances, static_cast<std::size_t>(x.size()) * sizeof(float)) == cudaSuccess);
  REQUIRE(cudaMalloc(&pooled, 2 * features * sizeof(float)) == cudaSuccess);
  REQUIRE(cudaMalloc(&ends, offsets.size() * sizeof(index_t)) == cudaSuccess);

  const stroma::matrix_view<float, stroma::device_space> rows(instances, patches, features);
  stroma::transfer(ctx, x, rows);
  stroma::transfer(ctx, as_offsets(offsets), stroma::vector_view<index_t, stroma::device_space>(ends, 3));
  const stroma::bag_view<const float, stroma::device_space> bags{rows, {ends, 3}};
  const stroma::matrix_view<float, stroma::device_space> out(pooled, 2, features);
  stroma::mean_pool(ctx, bags, out);

  stroma::array<float, 2> found(2, features);
  stroma::transfer(ctx, out, found);
  const auto mean = [&](index_t b, index_t j) {
    const auto first = offsets[static_cast<std::size_t>(b)], last = offsets[static_cast<std::size_t>(b) + 1];
    long double sum = 0;
    for (index_t i = first; i < last; ++i) sum += static_cast<long double>(x(i, j));
    return sum / static_cast<long double>(last - first);
  };
  CHECK(worst_error(found, mean, (patches + 8) * std::numeric_limits<float>::epsilon()) <= 1);
  for (void* const p : {static_cast<void*>(instances), static_cast<void*>(pooled), static_cast<void*>(ends)})
    CHECK(cudaFree(p) == cudaSuccess);
}
