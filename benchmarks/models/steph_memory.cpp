#include <iostream>
#include <string>
#include <string_view>

#include "../support/resident.hpp"
#include "steph_workload.hpp"

// What a step takes beside the models, their task vectors and the bag: as abmil_memory, for STEPH.
// usage: steph_memory inference|training
int main(int argc, char** argv) {
  const bool training = argc > 1 && std::string_view(argv[1]) == "training";
  bench::steph_setting<float> setting;
  stroma::array<float, 2> bag(10000, 1536);
  bench::fill_random(bag, 1);
  bench::forget_peak();
  const double before = bench::resident_mib("VmRSS");
  if (training) {
    bench::steph_training<float> run(setting, 1);
    for (int i = 0; i < 2; ++i) run(bag);
  } else {
    bench::steph_inference<float> run(setting, 1);
    for (int i = 0; i < 3; ++i) run(bag);
  }
  std::cout << bench::resident_mib("VmHWM") - before << '\n';
}
