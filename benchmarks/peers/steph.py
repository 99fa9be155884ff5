#!/usr/bin/env python3
"""Runs STEPH here and in PyTorch in turns and writes a Markdown table. Builds nothing.

    cmake --preset bench && cmake --build --preset bench
    python3 benchmarks/peers/steph.py --python VENV/bin/python [--rounds 2] [--threads 1,2]
"""
import argparse
import collections
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def run(command, threads=1):
    limits = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run([str(c) for c in command], env={**os.environ, **limits}, text=True, stdout=subprocess.PIPE, check=True)
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build" / "bench" / "benchmarks"))
    parser.add_argument("--python", required=True, help="an interpreter with PyTorch")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--threads", default="1,2")
    args = parser.parse_args()
    build, script = Path(args.build), HERE / "steph_pytorch.py"
    seconds = collections.defaultdict(list)
    for _ in range(args.rounds):
        for threads in map(int, args.threads.split(",")):
            with tempfile.NamedTemporaryFile(suffix=".json") as out:
                run([build / "bench_models", f"--benchmark_filter=BM_steph.*threads:{threads}", f"--benchmark_repetitions={args.samples}",
                     f"--benchmark_out={out.name}", "--benchmark_out_format=json"], threads)
                for b in json.load(out)["benchmarks"]:
                    if b["run_type"] == "iteration":
                        kind, storage = b["name"].split("/")[:2]
                        seconds[kind.removeprefix("BM_steph_"), threads, storage].append(b["real_time"] * 1e-3)
            for how in ([], ["--bag-by-bag"]):
                theirs = json.loads(run([args.python, script, "--threads", threads, "--samples", args.samples, *how], threads))
                for kind in ("training", "inference"):
                    seconds[kind, threads, "PyTorch" + (" bag by bag" if how else "")].append(theirs[kind])
    memory = {}
    for kind in ("training", "inference"):
        memory[kind] = [float(run([build / "steph_memory", kind]))]
        for how in ([], ["--bag-by-bag"]):
            memory[kind].append(json.loads(run([args.python, script, "--memory", kind, *how]))["extra_mib"])
    print(f"PyTorch {theirs['torch']}; seconds, median of {args.rounds} x {args.samples}\n")
    print("| | threads | ours | ours, half vectors | PyTorch | PyTorch, bag by bag | ratio | ratio, bag by bag |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for kind in ("training", "inference"):
        for threads in map(int, args.threads.split(",")):
            ours, half, plain, careful = (statistics.median(seconds[kind, threads, who])
                                          for who in ("float", "half_vectors", "PyTorch", "PyTorch bag by bag"))
            print(f"| {kind} | {threads} | {ours:.3g} | {half:.3g} | {plain:.3g} | {careful:.3g} | {plain / ours:.2f} | {careful / ours:.2f} |")
    print("\n| MiB beside models and bag | ours | PyTorch | PyTorch, bag by bag |\n| --- | ---: | ---: | ---: |")
    for kind, found in memory.items():
        print(f"| {kind} | " + " | ".join(f"{x:.0f}" for x in found) + " |")


main()
