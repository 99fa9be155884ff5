// For nvcc alone: Thrust brings CUDA's own headers, which the emulator stands in for. tests/adapt/thrust.test.cpp looks
// at the views without a device.
#if defined(__CUDACC__)
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <doctest/doctest.h>
#include <thrust/device_vector.h>

#include <stroma/adapt/thrust.cuh>
#include <stroma/metrics/roc_auc.cuh>
#include <stroma/nn/softmax.cuh>

#include "support/device.hpp"

using namespace stroma_test;

TEST_CASE("cuda: adapt/thrust: a device_vector as a vector, and its memory as a matrix") {
  constexpr index_t rows = 3, cols = 5;
  const auto x = normal_matrix<float>(rows, cols, 1);
  const thrust::device_vector<float> in(x.data(), x.data() + x.size());
  thrust::device_vector<float> out(static_cast<std::size_t>(rows * cols));
  stroma::cuda_context ctx;
  stroma::softmax(ctx, stroma::matrix_view<const float, stroma::device_space>(stroma::as_view(in).data, rows, cols),
                  stroma::matrix_view<float, stroma::device_space>(stroma::as_view(out).data, rows, cols));
  ctx.synchronize();
  for (index_t r = 0; r < rows; ++r) {
    float sum = 0;
    for (index_t c = 0; c < cols; ++c) sum += out[static_cast<std::size_t>(r * cols + c)];
    CHECK(std::abs(sum - 1) <= (cols + 8) * std::numeric_limits<float>::epsilon());
  }

  // Of the four pairs of a positive and a negative, three stand right.
  const std::vector<double> score{0.1, 0.4, 0.35, 0.8};
  const std::vector<int> label{0, 0, 1, 1};
  const thrust::device_vector<double> device_score(score.begin(), score.end());
  const thrust::device_vector<int> device_label(label.begin(), label.end());
  CHECK(stroma::roc_auc(ctx, device_score, device_label) == 0.75);
}
#endif
