// A program with a matrix type of its own hands it to stroma: five lines, no copy.
#include <cstddef>
#include <cstdio>
#include <vector>

#include <stroma/core/tensor.hpp>

// What the program had before it met stroma: the features of a slide's patches, each row padded to a multiple of 16.
namespace lab {

class patch_features {
 public:
  patch_features(long patches, long features)
      : patches_(patches),
        features_(features),
        pitch_((features + 15) / 16 * 16),
        cells_(static_cast<std::size_t>(patches * pitch_)) {}
  float& at(long patch, long feature) { return cells_[static_cast<std::size_t>(patch * pitch_ + feature)]; }
  float* raw() { return cells_.data(); }
  const float* raw() const { return cells_.data(); }
  long patches() const { return patches_; }
  long features() const { return features_; }
  long pitch() const { return pitch_; }

 private:
  long patches_, features_, pitch_;
  std::vector<float> cells_;
};

}  // namespace lab

// The five lines.
template <>
struct stroma::tensor_traits<lab::patch_features> {
  using scalar = float;
  using backend = stroma::backend::cpu;
  static constexpr int rank = 2;
  static auto view(auto& p) { return matrix_view(p.raw(), p.patches(), p.features(), p.pitch(), 1); }
};

static_assert(stroma::matrix_like<lab::patch_features>);

int main() {
  lab::patch_features slide(3, 5);
  for (long patch = 0; patch < 3; ++patch)
    for (long feature = 0; feature < 5; ++feature) slide.at(patch, feature) = static_cast<float>(10 * patch + feature);

  const auto seen = stroma::as_const_view(slide);
  float sum = 0;
  for (stroma::index_t patch = 0; patch < seen.rows; ++patch)
    for (stroma::index_t feature = 0; feature < seen.cols; ++feature) sum += seen(patch, feature);
  stroma::as_view(slide)(2, 4) = -1;  // what stroma writes lands in the program's own memory

  std::printf("%td patches x %td features, sum %g, last %g\n", seen.rows, seen.cols, double{sum},
              double{slide.at(2, 4)});
  return sum == 180 && slide.at(2, 4) == -1 ? 0 : 1;
}
