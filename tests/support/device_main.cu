// main of the tests that nvcc builds: without a device they are reported as skipped, and can still be listed.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstring>
#include <iostream>

#include <cuda_runtime.h>
#include <doctest/doctest.h>

int main(int count, char** words) {
  bool lists = false;
  for (int i = 1; i < count; ++i) lists = lists || std::strncmp(words[i], "--list", 6) == 0;
  int devices = 0;
  if (!lists && (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)) {
    std::cout << "SKIPPED: there is no CUDA device" << std::endl;
    return 0;
  }
  return doctest::Context(count, words).run();
}
