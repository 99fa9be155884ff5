#!/usr/bin/env python3
"""What torchsurv takes for the survival benchmarks. usage: survival_torchsurv.py SAMPLES N...
Prints one line for each measurement: name, N, seconds. The patients follow the recipe of benchmarks/support/inputs.hpp."""
import sys
import time
from importlib.metadata import version

import torch
from torchsurv.loss.cox import neg_partial_log_likelihood
from torchsurv.metrics.cindex import ConcordanceIndex

torch.set_num_threads(1)
torch.manual_seed(1)


def cohort(n, fine):
    score = torch.randn(n)
    at = 1000 * torch.empty(n).exponential_() * torch.exp(-score / 2)
    return score, torch.rand(n) < 0.4, at if fine else torch.ceil(at)


def cox(method):
    def step(score, event, at):
        score = score.clone().requires_grad_(True)
        neg_partial_log_likelihood(score, event, at, ties_method=method, reduction="sum").backward()
    return step


def concordance(score, event, at):
    if len(score) <= 10_000:  # a mask of N for each event
        ConcordanceIndex()(score, event, at)


print("version", version("torchsurv"), 0)
for n in map(int, sys.argv[2:]):
    for fine in (False, True):
        patients = cohort(n, fine)
        for _ in range(int(sys.argv[1])):
            for name, task in (("cox_breslow", cox("breslow")), ("cox_efron", cox("efron")), ("concordance", concordance)):
                if name == "concordance" and n > 10_000:
                    continue
                start = time.perf_counter()
                task(*patients)
                print(name + ("_fine" if fine else "_days"), n, time.perf_counter() - start)
