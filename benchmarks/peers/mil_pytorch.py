#!/usr/bin/env python3
"""Classical multiple-instance learning in PyTorch on one core: the protocol that `stroma train` is compared with.

    mil_pytorch.py BAGS.csv FOLDS.csv [--repetitions 5] [--pooling attention|gated] [--epochs 100]

Instances go through layers 256-128-64 with ReLU, attention of width 64 pools them, a linear layer classifies. SGD with
momentum 0.9, rate 5e-4, weight decay 5e-3, one bag a step, last epoch; features are z-scored with the training folds' mean
and deviation. Prints JSON: accuracy of every repetition over all its folds, their mean and deviation, and seconds.
"""
import argparse
import csv
import json
import os
import statistics
import sys
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bags", help="bag,label,f0,f1 ..: one row an instance")
parser.add_argument("folds", help="bag,rep0,rep1 ..: one row a bag")
parser.add_argument("--repetitions", type=int, default=5)
parser.add_argument("--folds-of-each", type=int, help="only the first folds of a repetition, for a quick look at the speed")
parser.add_argument("--pooling", choices=["attention", "gated"], default="attention")
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--seed", type=int, default=1)
ARGS = parser.parse_args()
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import torch  # noqa: E402
from torch import nn  # noqa: E402


class Model(nn.Module):
    def __init__(self, features, gated):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        self.hidden = nn.Linear(64, 64)
        self.gate = nn.Linear(64, 64) if gated else None
        self.score = nn.Linear(64, 1)
        self.head = nn.Linear(64, 1)

    def forward(self, x):
        h = self.layers(x)
        a = torch.tanh(self.hidden(h))
        if self.gate is not None:
            a = a * torch.sigmoid(self.gate(h))
        return self.head(torch.softmax(self.score(a), dim=0).transpose(0, 1) @ h)


def read_bags(path):
    """Instances and label of every bag, by its id."""
    instances, labels = {}, {}
    with open(path, newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for bag, label, *features in rows:
            instances.setdefault(bag, []).append([float(f) for f in features])
            labels[bag] = float(label)
    return {bag: torch.tensor(rows, dtype=torch.float64) for bag, rows in instances.items()}, labels


def read_folds(path):
    """For every repetition, the fold of each bag."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [{row["bag"]: int(float(row[name])) for row in rows} for name in rows[0] if name != "bag"]


def train(model, bags, labels):
    """The last epoch's model."""
    optimiser = torch.optim.SGD(model.parameters(), lr=5e-4, momentum=0.9, weight_decay=5e-3)
    loss_of = nn.BCEWithLogitsLoss()
    for _ in range(ARGS.epochs):
        for i in torch.randperm(len(bags)).tolist():
            optimiser.zero_grad()
            loss_of(model(bags[i]), labels[i]).backward()
            optimiser.step()


def correct_in_fold(instances, labels, fold_of, fold):
    """How many of the fold's bags are told right after training on the others."""
    inner = [bag for bag in instances if fold_of[bag] != fold]
    outer = [bag for bag in instances if fold_of[bag] == fold]
    pooled = torch.cat([instances[bag] for bag in inner])
    mean, deviation = pooled.mean(dim=0), pooled.std(dim=0, unbiased=False)
    deviation[deviation == 0] = 1
    scaled = {bag: ((x - mean) / deviation).float() for bag, x in instances.items()}
    targets = {bag: torch.tensor([[label]]) for bag, label in labels.items()}
    model = Model(mean.numel(), ARGS.pooling == "gated")
    train(model, [scaled[bag] for bag in inner], [targets[bag] for bag in inner])
    with torch.inference_mode():
        return sum((model(scaled[bag]).item() > 0) == (labels[bag] > 0.5) for bag in outer), len(outer)


def main():
    torch.set_num_threads(1)
    instances, labels = read_bags(ARGS.bags)
    accuracies, seconds = [], []
    for number, fold_of in enumerate(read_folds(ARGS.folds)[:ARGS.repetitions]):
        torch.manual_seed(ARGS.seed + number)
        begin, right, judged = time.perf_counter(), 0, 0
        for fold in sorted(set(fold_of.values()))[:ARGS.folds_of_each]:
            told, of = correct_in_fold(instances, labels, fold_of, fold)
            right, judged = right + told, judged + of
        accuracies.append(right / judged)
        seconds.append(time.perf_counter() - begin)
        print(f"repetition {number}: accuracy {accuracies[-1]:.3f}, {seconds[-1]:.1f} s", file=sys.stderr)
    print(json.dumps({"pooling": ARGS.pooling, "epochs": ARGS.epochs, "accuracy": accuracies, "mean": statistics.mean(accuracies),
                      "std": statistics.pstdev(accuracies), "seconds": sum(seconds), "seconds_of_each": seconds, "torch": torch.__version__}))


main()
