#include <iostream>
#include <string>
#include <string_view>

#include "../support/resident.hpp"
#include "abmil_workload.hpp"

// What a bag takes beside the model and itself: peak resident memory less what was resident when both existed, in
// MiB. One measurement a process. peers/abmil_pytorch.py --memory does the same.
namespace {

using stroma::index_t;
using model = stroma::abmil<float>;

/// Three steps on a bag; returns the peak.
template <class S>
double peak_of(model& m, const stroma::array<S, 2>& bag, bool training, int threads) {
  if (training) {
    bench::training_run<stroma::adamw<model>> run(m, threads, stroma::adam_options{});
    for (int i = 0; i < 3; ++i) run(bag, 1e-4);
  } else {
    bench::inference_run run(m, threads);
    for (int i = 0; i < 3; ++i) run(bag);
  }
  return bench::resident_mib("VmHWM");
}

template <class S>
double extra_memory(bool training, double dropout, int threads) {
  {  // what code and libraries take when first used is not counted
    model tiny({.features = 8, .hidden = {8}, .attention = 8, .outputs = 2, .dropout = dropout});
    bench::initialise(tiny);
    stroma::array<S, 2> bag(4, 8);
    peak_of(tiny, bag, training, threads);
  }
  model m(bench::slide_shape(dropout));
  bench::initialise(m);
  stroma::array<S, 2> bag(10000, 1536);
  bench::fill_random(bag, 1);
  bench::forget_peak();
  const double before = bench::resident_mib("VmRSS");
  return peak_of(m, bag, training, threads) - before;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "", storage = argc > 2 ? argv[2] : "float";
  const int threads = argc > 3 ? std::stoi(argv[3]) : 1;
  if (mode != "inference" && mode != "training" && mode != "training_dropout") {
    std::cerr << "usage: abmil_memory inference|training|training_dropout [float|half] [threads]\n";
    return 2;
  }
  const bool training = mode != "inference";
  const double dropout = mode == "training_dropout" ? 0.25 : 0;
  std::cout << (storage == "half" ? extra_memory<stroma::half>(training, dropout, threads)
                                  : extra_memory<float>(training, dropout, threads))
            << '\n';
}
