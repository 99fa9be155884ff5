// clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/safetensors.fuzz.cpp -o
// safetensors_fuzz
// ./safetensors_fuzz -max_len=4096 a_folder_of_safetensors_files
#include <cstddef>
#include <cstdint>
#include <span>

#include <stroma/io/safetensors_reader.hpp>

namespace {

template <class T>
void read_all(const stroma::safetensors_reader& file) {
  for (const stroma::stored_tensor& tensor : file.tensors()) {
    try {
      const auto values = file.read<T>(tensor.name);
      if (values.flat().size != tensor.size()) __builtin_trap();
      volatile unsigned char sink = 0;
      for (stroma::index_t i = 0; i < values.flat().size; ++i)
        sink = static_cast<unsigned char>(sink ^ reinterpret_cast<const unsigned char&>(values.flat()[i]));
    } catch (const stroma::format_error&) {  // floats asked for as integers, integers out of range
    }
  }
}

}  // namespace

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
