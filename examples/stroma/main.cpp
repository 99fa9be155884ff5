// The program `stroma`: simulate, train, predict, evaluate. Read README.md beside this file first.
#include <exception>
#include <iostream>

#include <stroma/version.hpp>

#include "program.hpp"

namespace {

constexpr int bad_input = 1, bad_usage = 2;

std::string version_text() {
  return "stroma " + std::to_string(STROMA_VERSION_MAJOR) + "." + std::to_string(STROMA_VERSION_MINOR) + "." +
         std::to_string(STROMA_VERSION_PATCH);
}

/// Messages are one line; what comes from a file could bring others.
std::string one_line(std::string text) {
  for (char& c : text)
    if (c == '\n' || c == '\r') c = ' ';
  return text;
}

int run(int argc, char** argv) {
  CLI::App app{"Prognosis and classes from bags of image patches: attention-based multiple-instance learning,\n"
               "trained by cross-validation and judged by the concordance index or the accuracy."};
  app.name("stroma");
  app.set_version_flag("--version", version_text());
  app.require_subcommand(1);
  app.footer("Exit codes: 0 done, 1 bad input (one line on stderr says which), 2 wrong usage.\n"
             "'stroma COMMAND --help' explains a command's options, files and units.");
  program::add_simulate(app);
  program::add_train(app);
  program::add_predict(app);
  program::add_evaluate(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : bad_usage;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::cerr << "stroma: the memory does not suffice\n";
  } catch (const std::exception& error) {
    std::cerr << "stroma: " << one_line(error.what()) << '\n';
  }
  return bad_input;
}
