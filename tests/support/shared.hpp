#pragma once
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string_view>

/// The folder `tests`, for a program that is started by hand; ctest says it in the environment.
inline std::filesystem::path tests_folder() {
  return std::filesystem::path(__FILE__).lexically_normal().parent_path().parent_path();
}

/// A small file that the repository carries: `tests/data/<name>`.
inline std::filesystem::path test_data(std::string_view name) {
  const char* const folder = std::getenv("STROMA_TEST_DATA");
  return (folder != nullptr ? std::filesystem::path(folder) : tests_folder() / "data") / name;
}

/// The optional folder `../shared` (or $STROMA_SHARED).
inline std::optional<std::filesystem::path> find_shared_folder() {
  const char* const set = std::getenv("STROMA_SHARED");
  const std::filesystem::path folder =
      set != nullptr ? std::filesystem::path(set) : tests_folder().parent_path().parent_path() / "shared";
  if (std::filesystem::is_directory(folder)) return folder;
  return std::nullopt;
}

/// The same, for tests that cannot do without. Where it is absent this prints a line that makes ctest report the test
/// case as skipped; the test case then returns:
///     const auto shared = shared_folder();
///     if (!shared) return;
inline std::optional<std::filesystem::path> shared_folder() {
  auto folder = find_shared_folder();
  if (!folder) std::cout << "SKIPPED: ../shared is absent" << std::endl;
  return folder;
}
