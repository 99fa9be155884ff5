#pragma once
#include <stroma/io/safetensors_reader.hpp>

/// Reads every tensor of a file, of whatever class, as numbers of type T, and looks at each byte.
template <class T, class File>
void read_all(const File& file) {
  for (const stroma::stored_tensor& tensor : file.tensors()) {
    try {
      const auto values = file.template read<T>(tensor.name);
      if (values.flat().size != tensor.size()) __builtin_trap();
      volatile unsigned char sink = 0;
      for (stroma::index_t i = 0; i < values.flat().size; ++i)
        sink = static_cast<unsigned char>(sink ^ reinterpret_cast<const unsigned char&>(values.flat()[i]));
    } catch (const stroma::format_error&) {  // floats asked for as integers, integers out of range
    }
  }
}
