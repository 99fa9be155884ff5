#include "json_option.hpp"

#include <iostream>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace program {

void json_option::add_to(CLI::App& command) {
  given = command.add_option("--json", file, "print JSON instead of a table, or write it to FILE");
  given->expected(0, 1)->type_name("[FILE]");
}

bool json_option::give(const json& result) const {
  if (!file.empty()) write_json(file, result);
  const bool instead = given->count() > 0 && file.empty();
  if (instead) std::cout << result.dump(2) << '\n';
  return !instead;
}

}  // namespace program
