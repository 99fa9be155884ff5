#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include <stroma/core/error.hpp>

namespace stroma::detail {

/// Text from a file as it may appear in a message: quoted, at most 80 bytes of it, control characters as '?'.
[[nodiscard]] inline std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 80;
  std::string shown = "'";
  for (const char c : text.substr(0, longest)) shown += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  if (text.size() > longest) shown += "...";
  return shown += '\'';
}

/// The one way a reader refuses a file. @throws format_error  always
[[noreturn]] inline void refuse_file(std::string_view function, std::string_view argument, std::string_view found,
                                     std::string_view expected) {
  throw format_error(error_message(function, argument, found, expected));
}

/// Refuses one tensor of a file. @throws format_error  always
[[noreturn]] inline void refuse_tensor(std::string_view function, const std::string& file, std::string_view name,
                                       std::string_view found, std::string_view expected) {
  refuse_file(function, file + ": tensor " + in_quotes(name), found, expected);
}

/// Refuses one cell of a CSV file by line (the header is line 1) and column. @throws format_error  always
[[noreturn]] inline void refuse_cell(std::string_view function, const std::string& file, std::ptrdiff_t line,
                                     std::string_view column, std::string_view found, std::string_view expected) {
  refuse_file(function, file + ": line " + std::to_string(line) + ", column " + in_quotes(column), found, expected);
}

}  // namespace stroma::detail
