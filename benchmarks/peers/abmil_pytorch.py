#!/usr/bin/env python3
"""The workloads of benchmarks/models/abmil.bench.cpp in PyTorch, on the CPU. Prints JSON.

    abmil_pytorch.py [--threads N] [--seconds S] [--compile] [--only PREFIX]    times
    abmil_pytorch.py --memory inference|training|training_dropout [--storage float|half] [--threads N]
"""
import argparse
import json
import os
import statistics
import sys
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=15, help="least number of measurements of each workload")
    parser.add_argument("--seconds", type=float, default=2.0, help="least time for each workload")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")
    parser.add_argument("--only", default="", help="workloads whose names begin so")
    parser.add_argument("--memory", choices=["inference", "training", "training_dropout"])
    parser.add_argument("--storage", choices=["float", "half"], default="float")
    parser.add_argument("--in-place", action="store_true", help="memory: activations overwrite their inputs")
    return parser.parse_args()


ARGS = arguments()
# Read by the libraries when they are loaded.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(ARGS.threads)
# A build on OpenBLAS may not know this processor and fall back to its slowest kernels.
with open("/proc/cpuinfo") as cpuinfo:
    if "avx512f" in cpuinfo.read():
        os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

SLIDE = dict(patches=10000, features=1536, hidden=(512,), attention=384, outputs=32)
SMALL = dict(patches=5, features=166, hidden=(256, 128, 64), attention=64, outputs=2)


class Abmil(nn.Module):
    """Gated attention pooling as published. in_place: what a careful author could save without changing the result."""

    def __init__(self, shape, dropout=0.0, in_place=False):
        super().__init__()
        widths = [shape["features"], *shape["hidden"]]
        self.feat_proj = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.hidden = nn.Linear(widths[-1], shape["attention"])
        self.gate = nn.Linear(widths[-1], shape["attention"])
        self.score = nn.Linear(shape["attention"], 1)
        self.pred_head = nn.Linear(widths[-1], shape["outputs"])
        self.dropout, self.in_place = dropout, in_place

    def forward(self, x):
        relu, tanh, sigmoid = (torch.relu_, torch.tanh_, torch.sigmoid_) if self.in_place else (torch.relu, torch.tanh, torch.sigmoid)
        for layer in self.feat_proj:
            x = relu(layer(x))
        a, b = tanh(self.hidden(x)), sigmoid(self.gate(x))
        if self.training and self.dropout > 0:
            a, b = functional.dropout(a, self.dropout), functional.dropout(b, self.dropout)
        product = a.mul_(b) if self.in_place and not torch.is_grad_enabled() else a * b
        weights = torch.softmax(self.score(product), dim=0)
        slide = weights.transpose(0, 1) @ x
        return self.pred_head(slide), weights


def bag_of(shape, storage="float"):
    bag = torch.rand(shape["patches"], shape["features"]) * 2 - 1
    return bag.half() if storage == "half" else bag


class Inference:
    def __init__(self, model, bag):
        self.model, self.bag = model.eval(), bag

    def __call__(self):
        with torch.inference_mode():
            return self.model(self.bag.float())  # float() of floats is the bag itself


class Training:
    def __init__(self, model, bag, optimiser):
        self.model, self.bag, self.optimiser = model.train(), bag, optimiser
        self.label = torch.tensor([1])

    def __call__(self):
        self.optimiser.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(self.model(self.bag.float())[0], self.label)
        loss.backward()
        self.optimiser.step()
        return loss


OPTIMISERS = {
    "foreach": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-4, foreach=True),
    "fused": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True),
    "loop": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-4, foreach=False),
}


def timed(run, samples, seconds):
    """(wall, CPU) seconds of a call: at least `samples` measurements of at least 5 ms after a warm-up."""
    for _ in range(3):
        run()
    begin = time.perf_counter()
    run()
    calls = max(1, round(0.005 / max(time.perf_counter() - begin, 1e-7)))
    found, started = [], time.perf_counter()
    while len(found) < samples or time.perf_counter() - started < seconds:
        begin, used = time.perf_counter(), time.process_time()
        for _ in range(calls):
            run()
        found.append(((time.perf_counter() - begin) / calls, (time.process_time() - used) / calls))
    return found


def best_optimiser(shape, dropout, bag):
    """PyTorch has three implementations of AdamW: the fastest of a trial, with its name."""
    def trial(name):
        model = Abmil(shape, dropout)
        run = Training(model, bag, OPTIMISERS[name](model))
        return min(wall for wall, _ in timed(run, 4, 0))
    return min(OPTIMISERS, key=trial)


def workloads():
    """(name, how to make it); the names are those of run.py."""
    def inference(shape, storage="float", **options):
        return lambda: Inference(Abmil(shape, **options), bag_of(shape, storage))

    def training(shape, storage="float", dropout=0.0, **options):
        def make():
            bag = bag_of(shape, storage)
            model = Abmil(shape, dropout, **options)
            return Training(model, bag, OPTIMISERS[best_optimiser(shape, dropout, bag)](model))
        return make

    def small_training():
        model = Abmil(SMALL)
        sgd = torch.optim.SGD(model.parameters(), lr=5e-4, momentum=0.9, weight_decay=5e-3)
        return Training(model, bag_of(SMALL), sgd)

    def compiled(make):
        def build():
            run = make()
            run.model = torch.compile(run.model)
            return run
        return build

    yield "inference/float", inference(SLIDE)
    yield "inference/float/in_place", inference(SLIDE, in_place=True)
    yield "inference/half", inference(SLIDE, "half")
    yield "training/float", training(SLIDE)
    yield "training/float/in_place", training(SLIDE, in_place=True)
    yield "training_dropout/float", training(SLIDE, dropout=0.25)
    yield "training/half", training(SLIDE, "half")
    yield "small_inference/float", inference(SMALL)
    yield "small_training/float", small_training
    if ARGS.compile:
        yield "inference/float/compiled", compiled(inference(SLIDE))
        yield "training/float/compiled", compiled(training(SLIDE))


def measure_times():
    found = {}
    for name, make in workloads():
        if not name.startswith(ARGS.only) or (ARGS.threads > 1 and name.startswith("small")):
            continue
        torch.manual_seed(1)
        try:
            found[name] = timed(make(), ARGS.samples, ARGS.seconds)
        except Exception as error:  # torch.compile needs a compiler
            if not name.endswith("compiled"):
                raise
            print(f"{name}: {error}"[:300], file=sys.stderr)
    return {name: {"median": statistics.median(wall for wall, _ in times), "cpu": statistics.median(cpu for _, cpu in times),
                   "samples": len(times)} for name, times in found.items()}


def resident(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))


def extra_memory():
    """Peak resident memory of three steps less what was resident when the model and the bag existed, in MiB."""
    dropout = 0.25 if ARGS.memory == "training_dropout" else 0.0

    def three_steps(model, bag):
        run = Inference(model, bag) if ARGS.memory == "inference" else Training(model, bag, OPTIMISERS["fused"](model))
        for _ in range(3):
            run()

    # What code and libraries take when first used is not counted.
    tiny = dict(patches=4, features=8, hidden=(8,), attention=8, outputs=2)
    three_steps(Abmil(tiny, dropout, ARGS.in_place), bag_of(tiny, ARGS.storage))
    model, bag = Abmil(SLIDE, dropout, ARGS.in_place), bag_of(SLIDE, ARGS.storage)
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")  # the peak begins anew
    before = resident("VmRSS")
    three_steps(model, bag)
    return resident("VmHWM") - before


def main():
    torch.set_num_threads(ARGS.threads)
    result = {"torch": torch.__version__, "threads": torch.get_num_threads(),
              "blas": next((line.strip(" -") for line in torch.__config__.show().splitlines() if "Math Kernel" in line), "not MKL")}
    if ARGS.memory:
        result["extra_mib"] = extra_memory()
    else:
        result["seconds"] = measure_times()
    print(json.dumps(result))


main()
