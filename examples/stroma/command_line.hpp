#pragma once

namespace CLI {
class App;
}

namespace program {

struct train_options;

/// Reads the command line and does what it says. Returns the exit code: 0, or 2 for wrong usage.
int run_command_line(int argc, char** argv);
/// The options of `stroma train`, which fill a file of their own.
void add_train_options(CLI::App& command, train_options& options);

}  // namespace program
