#pragma once
#include <string>

#include "program.hpp"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace program {

/// `--json [FILE]` of a command that prints a table: the same as JSON instead, or in FILE besides.
struct json_option {
  std::string file;
  CLI::Option* given = nullptr;

  void add_to(CLI::App& command);
  /// Prints or writes what was asked for. Returns whether the table is to be printed.
  [[nodiscard]] bool give(const json& result) const;
};

}  // namespace program
