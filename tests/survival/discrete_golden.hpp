#pragma once
#include <doctest/doctest.h>

#include <stroma/core/view.hpp>

#include "survival/golden.hpp"

/// One patient of the golden losses of bins.
struct golden_row {
  stroma::matrix_view<const double> logit;
  std::vector<std::int64_t> bin;
  std::vector<double> part;
  std::vector<std::uint8_t> event;
};

/// Every row's negative log likelihood within 1e-9, and its gradient where the file has one.
template <class Loss, class Backward>
void check_golden_rows(const char* losses, const char* gradients, const Loss& loss, const Backward& backward) {
  std::size_t seen = 0;
  for (const auto& name : golden::sets()) {
    const auto expected = golden::cases(name, "curves").at("prediction");
    if (expected.is_null()) continue;
    CAPTURE(name);
    const auto& of = expected["discrete"];
    const auto bins = of["bins"].get<std::size_t>();
    const auto logit = golden::numbers(of["phi"]), nll = golden::numbers(of[losses]),
               part = golden::numbers(of["frac"]);
    const auto bin = golden::numbers(of["idx"]);
    const auto gradient = gradients == nullptr ? std::vector<double>() : golden::numbers(of[gradients]);
    const auto event = golden::table(name).event();
    for (std::size_t r = 0; r < nll.size(); ++r) {
      CAPTURE(r);
      const auto width = static_cast<stroma::index_t>(bins);
      const golden_row row{
          {logit.data() + r * bins, 1, width}, {static_cast<std::int64_t>(bin[r])}, {part[r]}, {event[r]}};
      CHECK(golden::close(loss(row), nll[r], 1e-9));
      ++seen;
      if (gradients == nullptr) continue;
      std::vector<double> d(bins);
      const double seed = 1;
      backward(row, &seed, stroma::matrix_view<double>(d.data(), 1, width));
      // Where terms cancel the gradient is small beside them, and they are up to 1.
      CHECK(golden::close(d,
                          std::vector<double>(gradient.begin() + static_cast<std::ptrdiff_t>(r * bins),
                                              gradient.begin() + static_cast<std::ptrdiff_t>((r + 1) * bins)),
                          1e-9, 1e-6));
    }
  }
  CHECK(seen >= 26);
}
