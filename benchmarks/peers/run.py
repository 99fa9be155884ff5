#!/usr/bin/env python3
"""Runs our benchmarks and PyTorch's alternately and writes a Markdown report. Builds nothing.

    cmake --preset bench && cmake --build --preset bench
    python3 benchmarks/peers/run.py --python VENV/bin/python [--rounds 3] [--threads 1,2] [--out report.md]

Needs the standard library here, and PyTorch in the interpreter given by --python.
"""
import argparse
import collections
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# (what, our benchmark, PyTorch's workloads: as published, then what else was tried)
TIMES = [
    ("inference, float", "BM_abmil/float", ["inference/float", "inference/float/in_place", "inference/float/compiled"]),
    ("inference, stored as half", "BM_abmil/half", ["inference/half"]),
    ("training step, float", "BM_abmil_training/float", ["training/float", "training/float/in_place", "training/float/compiled"]),
    ("training step with dropout, float", "BM_abmil_training_dropout/float", ["training_dropout/float"]),
    ("training step, stored as half", "BM_abmil_training/half", ["training/half"]),
    ("inference, bag of 5", "BM_abmil_small/float", ["small_inference/float"]),
    ("training step, bag of 5", "BM_abmil_small_training/float", ["small_training/float"]),
]
MEMORY = [(mode, storage) for mode in ("inference", "training", "training_dropout") for storage in ("float", "half")]
NANOSECONDS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build" / "bench" / "benchmarks"), help="folder of our programs")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with PyTorch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--samples", type=int, default=15, help="measurements of each workload in a round")
    parser.add_argument("--compile", action="store_true", help="also torch.compile")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--out", help="file of the report; the standard output otherwise")
    return parser.parse_args()


def run(command, **extra_environment):
    done = subprocess.run([str(c) for c in command], env={**os.environ, **extra_environment}, text=True, stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: exit code {done.returncode}")
    return done.stdout


def our_times(args, threads):
    """{benchmark: {"seconds": [..], "flops a second": [..]}} and the peak of a multiply-add loop in flops a second."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        run([Path(args.build) / "bench_models", f"--benchmark_filter=/threads:{threads}/", "--benchmark_min_time=0.02",
             f"--benchmark_repetitions={args.samples}", "--benchmark_enable_random_interleaving=true",
             f"--benchmark_out={out.name}", "--benchmark_out_format=json"])
        report = json.load(out)
    found, peak = collections.defaultdict(list), 0
    for b in report["benchmarks"]:
        if b["run_type"] != "iteration":
            continue
        unit = NANOSECONDS[b["time_unit"]] * 1e-9
        seconds = b["real_time"] * unit
        found[b["name"].split("/N:")[0]].append({"seconds": seconds, "cpu": b["cpu_time"] * unit, "flops": b["GFLOP/s"] * 1e9 * seconds})
        peak = b["GFLOP/s"] * 1e9 / b["of_peak"]
    return found, peak


def peer_times(args, threads):
    return json.loads(run([args.python, HERE / "abmil_pytorch.py", "--threads", threads, "--samples", args.samples]
                          + (["--compile"] if args.compile else []), OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads)))


def processor():
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} logical processors" if names else platform.machine()


def compiler(args):
    cache = Path(args.build).parent / "CMakeCache.txt"
    if not cache.exists():
        return "unknown"
    found = [line.split("=", 1)[1].strip() for line in cache.read_text().splitlines() if line.startswith("CMAKE_CXX_COMPILER:")]
    return run([found[0], "--version"]).splitlines()[0] if found else "unknown"


def in_unit(seconds):
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def time_table(args, threads):
    """Rounds of A B A B; the ratio of a round compares what ran next to each other."""
    ours, peers, peaks, version = collections.defaultdict(list), collections.defaultdict(list), [], {}
    for number in range(args.rounds):
        print(f"threads {threads}, round {number + 1} of {args.rounds}", file=sys.stderr)
        found, peak = our_times(args, threads)
        peaks.append(peak)
        for name, samples in found.items():
            ours[name].append(samples)
        version = peer_times(args, threads)
        for name, times in version["seconds"].items():
            peers[name].append(times)

    peak = max(peaks)
    lines = [f"\n### {threads} thread{'s' if threads > 1 else ''}\n",
             f"Peak of multiply-adds in registers: {peak * 1e-9:.0f} GFLOP/s (the best window of {args.rounds} rounds).\n",
             "| workload | PyTorch variant | stroma | PyTorch | ratio | lowest, highest round | ratio of CPU time | floor | stroma over floor |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for what, benchmark, variants in TIMES:
        if benchmark not in ours:
            continue
        mine = [statistics.median(s["seconds"] for s in samples) for samples in ours[benchmark]]
        cpu = [statistics.median(s["cpu"] for s in samples) for samples in ours[benchmark]]
        floor = ours[benchmark][0][0]["flops"] / peak
        for variant in variants:
            if variant not in peers:
                continue
            theirs = [t["median"] for t in peers[variant]]
            ratios = [b / a for a, b in zip(mine, theirs)]
            a, b = statistics.median(mine), statistics.median(theirs)
            label = variant.split("/")[2] if variant.count("/") > 1 else "as published"
            # Only our calling thread's CPU time is known.
            used = f"{statistics.median(t['cpu'] for t in peers[variant]) / statistics.median(cpu):.2f}" if threads == 1 else ""
            lines.append(f"| {what} | {label} | {in_unit(a)} | {in_unit(b)} | {b / a:.2f} | {min(ratios):.2f}, {max(ratios):.2f} | {used} | "
                         f"{in_unit(floor)} | {a / floor:.2f} |")
    return lines, version


def memory_table(args, threads):
    lines = [f"\n### Extra memory, MiB, {threads} thread{'s' if threads > 1 else ''}\n",
             "| workload | stroma | PyTorch as published | share | PyTorch in place | share |", "| --- | --- | --- | --- | --- | --- |"]
    for mode, storage in MEMORY:
        mine = float(run([Path(args.build) / "abmil_memory", mode, storage, threads]))
        theirs = []
        for options in ([], ["--in-place"]):
            command = [args.python, HERE / "abmil_pytorch.py", "--threads", threads, "--memory", mode, "--storage", storage]
            theirs.append(json.loads(run(command + options))["extra_mib"])
        lines.append(f"| {mode.replace('_', ' with ')}, {storage} | {mine:.0f} | "
                     + " | ".join(f"{t:.0f} | {mine / t:.2f}" for t in theirs) + " |")
    return lines


def main():
    args = arguments()
    tables, version = [], {}
    for threads in (int(t) for t in args.threads.split(",")):
        lines, version = time_table(args, threads)
        tables += lines
        if not args.no_memory:
            tables += memory_table(args, threads)
    options = "".join([f" --rounds {args.rounds} --samples {args.samples} --threads {args.threads}", " --compile" if args.compile else ""])
    head = ["# Attention pooling model, stroma and PyTorch\n",
            f"- {datetime.date.today()}, {processor()}, {platform.system()} {platform.release()}",
            f"- stroma: {compiler(args)}, preset `bench` (Release, -march=native)",
            f"- PyTorch {version['torch']}, {version['blas']}",
            f"- `python3 benchmarks/peers/run.py{options}`: {args.rounds} rounds, in each first ours, then PyTorch's, at least "
            f"{args.samples} measurements of each workload; load at the end {os.getloadavg()[0]:.1f}",
            "- a slide: 10,000 patches of 1536, layers 1536-512, gated attention 384, 32 outputs; a bag of 5: 166, layers 256-128-64, "
            "attention 64, 2 outputs. Training: forward, backward, AdamW (bag of 5: SGD with momentum)",
            "- times: the median over the rounds of each round's median; ratio: PyTorch's over ours; CPU time: less disturbed by others on a "
            "busy machine; floor: flops of the products over the peak"]
    text = "\n".join(head + tables) + "\n"
    if args.out:
        Path(args.out).write_text(text)
    else:
        print(text)


main()
