#pragma once
#include <fstream>
#include <string>
#include <string_view>

namespace bench {

/// A line of /proc/self/status in MiB: VmRSS what is resident, VmHWM the most that was.
inline double resident_mib(std::string_view name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word.substr(0, word.find(':')) == name) {
      double kib = 0;
      status >> kib;
      return kib / 1024;
    }
  return 0;
}
/// The peak begins anew.
inline void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace bench
