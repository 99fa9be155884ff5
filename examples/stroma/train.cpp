// stroma train: cross-validation of a multiple-instance model. What one fold does is in fold_training.cpp.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <stroma/train/progress.hpp>

#include "commands.hpp"
#include "cross_validation.hpp"
#include "program.hpp"

namespace program {
namespace {

/// The bar on stderr and the lines on stdout, from any thread. Lines come in the order of the folds.
class reporter {
 public:
  reporter(const train_options& o, index_t folds)
      : bar_(stderr, "training", folds * o.recipe.epochs,
             {.style = o.quiet ? stroma::progress_style::silent : stroma::progress_style::automatic}),
        on_terminal_(!o.quiet && ::isatty(STDERR_FILENO) == 1),
        epochs_(o.recipe.epochs),
        lines_(static_cast<std::size_t>(folds)) {}

  void epoch_done(double loss) {
    const std::lock_guard lock(mutex_);
    bar_.update(++done_, "epochs, loss " + fixed(loss, 4));
  }
  /// `seen` epochs were told of already; a fold that stopped early or was there already counts in full.
  void fold_done(std::size_t number, int seen, std::string line) {
    const std::lock_guard lock(mutex_);
    lines_[number] = std::move(line);
    if (next_ < lines_.size() && lines_[next_] && on_terminal_) std::fputs("\r\x1b[K", stderr);
    for (; next_ < lines_.size() && lines_[next_]; ++next_) std::cout << *lines_[next_] << '\n' << std::flush;
    done_ += epochs_ - seen;
    bar_.update(done_);
  }

 private:
  std::mutex mutex_;
  stroma::progress bar_;
  bool on_terminal_;
  index_t epochs_, done_ = 0;
  std::vector<std::optional<std::string>> lines_;
  std::size_t next_ = 0;
};

std::string fold_line(const fold_job& job, const judged_fold& judged, task_kind task) {
  std::string line = "repetition " + std::to_string(job.repetition) + "  fold " + right(std::to_string(job.fold), 2) +
                     "  bags " + std::to_string(job.parts.train.size()) + " + " + std::to_string(job.parts.test.size());
  if (judged.loss) line += "  loss " + fixed(*judged.loss, 4);
  for (const auto& [name, value] : judged.metrics)
    line += "  " + (name == "c_index" ? std::string("C-index") : name) + " " + fixed(value, 4);
  if (task == task_kind::survival) line += "  (" + std::to_string(judged.events) + " events)";
  return line;
}

/// Trains and judges all folds, several at once if there are threads for it.
std::vector<judged_fold> run_folds(const train_options& o, const cohort& data, const std::vector<fold_job>& jobs) {
  const int workers = std::min<int>(o.threads, static_cast<int>(jobs.size()));
  stroma::cpu_context outer(workers);
  std::vector<std::unique_ptr<stroma::cpu_context>> inner;
  for (int w = 0; w < workers; ++w)
    inner.push_back(std::make_unique<stroma::cpu_context>(std::max(1, o.threads / workers)));
  reporter report(o, static_cast<index_t>(jobs.size()));
  std::vector<judged_fold> judged(jobs.size());
  outer.parallel(static_cast<index_t>(jobs.size()), [&](index_t j, int worker) {
    const auto at = static_cast<std::size_t>(j);
    int told = 0;
    judged[at] = run_fold(*inner[static_cast<std::size_t>(worker)], o, data, jobs[at], [&](double loss) {
      ++told;
      report.epoch_done(loss);
    });
    report.fold_done(at, told, fold_line(jobs[at], judged[at], o.recipe.model.task));
  });
  return judged;
}

/// What a kill left half written, and the folder of the checkpoints, which is empty now.
void tidy_up(const std::filesystem::path& out) {
  std::error_code ignored;
  for (const auto& folder : {out / "checkpoints", out})
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(".stroma.") && name.ends_with(".tmp")) std::filesystem::remove(entry.path(), ignored);
    }
  std::filesystem::remove(out / "checkpoints", ignored);
}

}  // namespace

void train(const train_options& o) {
  const cohort data = read_cohort(o);
  const auto jobs = plan_folds(o, data);
  make_folder(std::filesystem::path(o.out) / "checkpoints");
  if (!o.resume)
    for (const fold_job& job : jobs) forget_fold(o, job);
  std::cout << data.bags.count() << " bags, " << data.bags.features() << " features, " << jobs.size()
            << " models to train\n"
            << std::flush;
  const auto judged = run_folds(o, data, jobs);
  write_results(o, data, jobs, judged);
  tidy_up(o.out);
}

}  // namespace program
