#pragma once
#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include <stroma/io/file_error.hpp>
#include <stroma/io/tensor_type.hpp>

namespace stroma::detail {

/// The tensors of a file and the way from a name to one of them.
struct named_tensors {
  std::vector<stored_tensor> tensors;  ///< in the file's order
  std::vector<std::size_t> by_name;    ///< indices of `tensors`, sorted by name

  /// @throws format_error  two tensors of one name
  void sort_names(std::string_view function, const std::string& file) {
    by_name.resize(tensors.size());
    std::iota(by_name.begin(), by_name.end(), std::size_t{0});
    std::sort(by_name.begin(), by_name.end(),
              [&](std::size_t a, std::size_t b) { return tensors[a].name < tensors[b].name; });
    for (std::size_t i = 1; i < by_name.size(); ++i)
      if (tensors[by_name[i - 1]].name == tensors[by_name[i]].name)
        refuse_tensor(function, file, tensors[by_name[i]].name, "this name twice", "each name once");
  }

  /// nullptr where there is none. O(log n).
  [[nodiscard]] const stored_tensor* find(std::string_view name) const noexcept {
    const auto at = std::lower_bound(by_name.begin(), by_name.end(), name,
                                     [&](std::size_t i, std::string_view n) { return tensors[i].name < n; });
    return at != by_name.end() && tensors[*at].name == name ? &tensors[*at] : nullptr;
  }
};

}  // namespace stroma::detail
