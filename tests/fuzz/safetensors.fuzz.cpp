// clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/safetensors.fuzz.cpp -o
// safetensors_fuzz
// ./safetensors_fuzz -max_len=4096 a_folder_of_safetensors_files
#include <cstddef>
#include <cstdint>
#include <span>

#include "read_all.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const stroma::safetensors_reader file(std::as_bytes(std::span(data, size)), "fuzz");
    read_all<float>(file);
    read_all<stroma::half>(file);
    read_all<std::uint8_t>(file);
  } catch (const stroma::format_error&) {
  }
  return 0;
}
