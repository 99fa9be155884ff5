#pragma once
#include <array>
#include <charconv>
#include <stdexcept>
#include <string>
#include <string_view>

namespace stroma {

/// An extent does not fit: lengths, widths, ranks.
struct shape_error : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// A value or an option is out of its range: NaN, a negative time, an event that is neither 0 nor 1.
struct value_error : std::domain_error {
  using std::domain_error::domain_error;
};

/// A file is not what it should be: truncated, lying about its contents, of another architecture.
struct format_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A backend failed: CUDA, MPI.
struct backend_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The one form of message: `function: argument: found, expected what`.
[[nodiscard]] inline std::string error_message(std::string_view function, std::string_view argument,
                                               std::string_view found, std::string_view expected) {
  std::string text;
  text.reserve(function.size() + argument.size() + found.size() + expected.size() + 16);
  text.append(function).append(": ").append(argument).append(": ").append(found);
  if (!expected.empty()) text.append(", expected ").append(expected);
  return text;
}

/// A number in a message: the shortest text that reads back as the same number.
[[nodiscard]] inline std::string number_text(double value) {
  if (value != value) return "nan";  // a NaN's sign says nothing
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

}  // namespace stroma
