#include <type_traits>

#include <doctest/doctest.h>

#include <stroma/core/error.hpp>

TEST_CASE("error: kinds are the standard library's, so that a caller needs no header of ours to catch them") {
  static_assert(std::is_base_of_v<std::invalid_argument, stroma::shape_error>);
  static_assert(std::is_base_of_v<std::domain_error, stroma::value_error>);
  static_assert(std::is_base_of_v<std::runtime_error, stroma::format_error>);
  static_assert(std::is_base_of_v<std::runtime_error, stroma::backend_error>);
  static_assert(!std::is_base_of_v<stroma::format_error, stroma::backend_error>);
  CHECK_THROWS_WITH_AS(throw stroma::shape_error("text"), "text", std::invalid_argument);
  CHECK_THROWS_WITH_AS(throw stroma::value_error(std::string("text")), "text", std::domain_error);
}

TEST_CASE("error: the one form of message") {
  CHECK(stroma::error_message("cox_partial_likelihood", "time", "length 4", "5 (the length of score)") ==
        "cox_partial_likelihood: time: length 4, expected 5 (the length of score)");
  CHECK(stroma::error_message("read_npy", "header", "no newline", "") == "read_npy: header: no newline");
  CHECK(stroma::error_message("", "", "", "") == ": : ");
}
