#!/usr/bin/env python3
"""Times our survival verbs, R's survival and torchsurv in turns, one thread, and writes a Markdown table.

    cmake --preset bench && cmake --build --preset bench
    python3 benchmarks/peers/survival.py [--rounds 3] [--samples 3] [--python VENV/bin/python] [--out report.md]

Needs Rscript with the package survival, and torchsurv in the interpreter given by --python; what is missing is left
out. Every program draws its patients by the same recipe. A peer sorts in every call, so it stands beside `whole`, where
ours sorts too; `sorted` is ours with the order kept, as in training and when many scores of a cohort are judged.
"""
import argparse
import collections
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SIZES = ["10000", "100000", "1000000"]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def run(command):
    done = subprocess.run([str(c) for c in command], env={**os.environ, **ONE_THREAD}, text=True, stdout=subprocess.PIPE, check=True)
    return done.stdout


def ours(program, samples):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        run([program, "--benchmark_filter=^peer/", "--benchmark_min_time=0.02", f"--benchmark_repetitions={samples}",
             f"--benchmark_out={out.name}", "--benchmark_out_format=json"])
        for b in json.load(out)["benchmarks"]:
            if b["run_type"] == "iteration":
                _, name, how, n = b["name"].split("/")[:4]
                yield (name, n, how), b["real_time"] * 1e-3


def peer(who, command):
    for line in run(command).splitlines():
        name, n, seconds = line.split()
        if name == "version":
            yield (who, "version", ""), n
        else:
            yield (name, n, who), float(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "build" / "bench" / "benchmarks" / "bench_survival"))
    parser.add_argument("--python", help="an interpreter with torchsurv")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--out", help="file of the report; the standard output otherwise")
    args = parser.parse_args()
    found, versions = collections.defaultdict(list), {}
    for _ in range(args.rounds):
        sources = [ours(args.program, args.samples)]
        if shutil.which("Rscript"):
            sources.append(peer("R survival", ["Rscript", HERE / "survival.R", args.samples] + SIZES))
        if args.python:
            sources.append(peer("torchsurv", [args.python, HERE / "survival_torchsurv.py", args.samples] + SIZES))
        for source in sources:
            for key, value in source:
                if key[1] == "version":
                    versions[key[0]] = value
                else:
                    found[key].append(value)

    median = {key: statistics.median(values) for key, values in found.items()}
    peers = sorted(versions)
    lines = [f"Milliseconds, median of {args.rounds} x {args.samples}; {platform.processor() or platform.machine()}; "
             + ", ".join(f"{p} {v}" for p, v in sorted(versions.items())), "",
             "| task | N | sorted | whole | " + " | ".join(f"{p} | {p} / whole | {p} / sorted" for p in peers) + " |",
             "| --- | ---: | ---: | ---: | " + " | ".join(["---: | ---: | ---:"] * len(peers)) + " |"]
    for name, n in dict.fromkeys(key[:2] for key in median):
        cells = [name.replace("_", " "), n]
        cells += [f"{1e3 * median[name, n, how]:.3g}" if (name, n, how) in median else "" for how in ("sorted", "whole")]
        for p in peers:
            theirs = median.get((name, n, p))
            cells += ["", "", ""] if theirs is None else [
                f"{1e3 * theirs:.3g}"] + [f"{theirs / median[name, n, how]:.1f}" for how in ("whole", "sorted")]
        lines.append("| " + " | ".join(cells) + " |")
    report = "\n".join(lines) + "\n"
    if args.out:
        Path(args.out).write_text(report)
    else:
        print(report, end="")


if __name__ == "__main__":
    main()
