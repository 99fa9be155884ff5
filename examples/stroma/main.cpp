// The program `stroma`: simulate, train, predict, evaluate, merge. Read README.md beside this file first.
#include <exception>
#include <iostream>
#include <new>
#include <string>

#include "command_line.hpp"
#include "program.hpp"

namespace {

constexpr int bad_input = 1, bad_usage = 2;

/// Messages are one line; what comes from a file could bring others.
int fail(std::string message, int code) {
  for (char& c : message)
    if (c == '\n' || c == '\r') c = ' ';
  std::cerr << "stroma: " << message << '\n';
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return program::run_command_line(argc, argv);
  } catch (const program::usage_error& error) {
    return fail(error.what(), bad_usage);
  } catch (const std::bad_alloc&) {
    return fail("the memory does not suffice", bad_input);
  } catch (const std::exception& error) {
    return fail(error.what(), bad_input);
  }
}
