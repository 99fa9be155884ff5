#pragma once

namespace CLI {
class App;
}

namespace program {

/// Reads the command line and does what it says. Returns the exit code: 0, or 2 for wrong usage.
int run_command_line(int argc, char** argv);
/// `stroma train`, whose options fill a file of their own.
void add_train(CLI::App& app);
/// `stroma merge`, the same; `stroma transfer` too.
void add_merge(CLI::App& app);
void add_transfer(CLI::App& app);
/// `stroma cox`, `stroma concordance`: options and work in one file.
void add_cox(CLI::App& app);
void add_concordance(CLI::App& app);

}  // namespace program
