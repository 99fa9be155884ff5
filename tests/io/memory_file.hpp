#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <stroma/io/tensor_reader.hpp>

/// A file of the format `memory`, called f, that has these tensors.
class memory_file : public stroma::tensor_reader {
 public:
  explicit memory_file(std::vector<stroma::stored_tensor> tensors) : tensor_reader("memory", {}, "f") {
    stroma::detail::named_tensors contents;
    contents.tensors = std::move(tensors);
    contents.sort_names("memory", "f");
    take(std::move(contents));
  }
};

/// A tensor of these elements, which must outlive it.
template <class T>
stroma::stored_tensor tensor_of(std::string name, const std::vector<T>& elements, std::vector<stroma::index_t> shape,
                                std::vector<stroma::index_t> strides = {}) {
  return {std::move(name), stroma::tensor_type_of<T>, std::move(shape), std::as_bytes(std::span(elements)),
          std::move(strides)};
}
