# What R's survival takes for the survival benchmarks. usage: Rscript survival.R SAMPLES N...
# Prints one line for each measurement: name, N, seconds. The patients follow the recipe of benchmarks/support/inputs.hpp.
suppressMessages(library(survival))
arguments <- as.numeric(commandArgs(trailingOnly = TRUE))
samples <- arguments[1]

cohort <- function(n, fine) {
  score <- rnorm(n)
  time <- 1000 * rexp(n) * exp(-score / 2)
  list(score = score, y = Surv(if (fine) time else ceiling(time), runif(n) < 0.4), w = rep(1, n))
}
# One evaluation of log likelihood, score, information and martingale residuals at a given score; the sort is in it.
cox <- function(c, method) {
  coxph.fit(matrix(c$score), c$y, NULL, NULL, init = 1, control = coxph.control(iter.max = 0), weights = c$w,
            method = method, rownames = NULL, resid = TRUE, nocenter = NULL)
}
tasks <- list(
  cox_breslow = function(c) cox(c, "breslow"),
  cox_efron = function(c) cox(c, "efron"),
  concordance = function(c) concordancefit(c$y, c$score, std.err = FALSE, reverse = TRUE),
  concordance_se = function(c) concordancefit(c$y, c$score, std.err = TRUE, reverse = TRUE),
  concordance_uno = function(c) concordancefit(c$y, c$score, timewt = "n/G2", std.err = FALSE, reverse = TRUE),
  kaplan_meier = function(c) survfit(c$y ~ 1)
)
cat("version", as.character(packageVersion("survival")), 0, "\n")
set.seed(1)
for (n in arguments[-1]) for (fine in c(FALSE, TRUE)) {
  c <- cohort(n, fine)
  for (i in seq_len(samples)) for (name in names(tasks)) {
    seconds <- system.time(tasks[[name]](c), gcFirst = TRUE)[["elapsed"]]
    cat(paste0(name, if (fine) "_fine" else "_days"), format(n, scientific = FALSE), seconds, "\n")
  }
}
