#include "program.hpp"

#include <cmath>
#include <cstdio>
#include <limits>
#include <system_error>

#include <nlohmann/json.hpp>

#include <stroma/io/atomic_file.hpp>
#include <stroma/io/file_error.hpp>

namespace program {

std::string fixed(double value, int digits) {
  if (!std::isfinite(value)) return "-";
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string short_number(double value, int digits) {
  if (std::isnan(value)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

json number_or_null(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

std::string left(std::string_view text, std::size_t width) {
  std::string padded(text);
  if (padded.size() < width) padded.append(width - padded.size(), ' ');
  return padded;
}

std::string right(std::string_view text, std::size_t width) {
  return (text.size() < width ? std::string(width - text.size(), ' ') : std::string()) + std::string(text);
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error || !std::filesystem::is_directory(folder))
    stroma::detail::refuse_file("stroma", folder.string(), "cannot be made (" + error.message() + ")",
                                "a folder that can be written");
}

void write_json(const std::filesystem::path& path, const json& value) {
  stroma::atomic_file file(path, "write_json");
  file.write(value.dump(2) + "\n");
  file.commit();
}

mean_and_deviation summarise(const std::vector<double>& values) {
  double sum = 0, squares = 0, count = 0;
  for (const double v : values)
    if (std::isfinite(v)) sum += v, ++count;
  if (count == 0) return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  const double mean = sum / count;
  for (const double v : values)
    if (std::isfinite(v)) squares += (v - mean) * (v - mean);
  return {mean, std::sqrt(squares / count)};
}

}  // namespace program
