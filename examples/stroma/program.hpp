#pragma once
#include <cstddef>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

/// What the subcommands share.
namespace program {

using json = nlohmann::ordered_json;

/// Options that contradict each other: exit code 2.
struct usage_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// `0.8712`, or `-` for a number that does not exist.
[[nodiscard]] std::string fixed(double value, int digits);
/// `1.23e-05`, `0.0123`: a few digits of a number of any size, or `-`.
[[nodiscard]] std::string short_number(double value, int digits = 4);
/// A number for JSON: null where it does not exist.
[[nodiscard]] json number_or_null(double value);

/// Text padded with blanks to a width: for tables on the screen.
[[nodiscard]] std::string left(std::string_view text, std::size_t width);
[[nodiscard]] std::string right(std::string_view text, std::size_t width);

/// Makes a folder and those above it. @throws stroma::format_error
void make_folder(const std::filesystem::path& folder);
/// Writes a file that appears whole or not at all.
void write_json(const std::filesystem::path& path, const json& value);

/// Mean and population standard deviation of the numbers that exist.
struct mean_and_deviation {
  double mean, deviation;
};
[[nodiscard]] mean_and_deviation summarise(const std::vector<double>& values);

}  // namespace program
