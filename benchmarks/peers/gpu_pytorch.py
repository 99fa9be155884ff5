#!/usr/bin/env python3
"""What PyTorch takes on this machine's GPU for the workloads of benchmarks/cuda/device_bench.cu; a Markdown table.

    gpu_pytorch.py [--no-compile]

Eager and torch.compile; float, tf32 and bf16. The ragged batch is given as PyTorch users give it: bag by bag, and as one
flat batch with segmented softmax and sums by index_add and scatter_reduce; the better of the two is the one to beat.
"""
import argparse
import statistics

import torch

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--no-compile", action="store_true")
ARGS = parser.parse_args()
DEVICE = torch.device("cuda")
BAGS, FEATURES, WIDTH = 64, 1024, 384


def median_ms(call):
    for _ in range(3):
        call()
    found = []
    for _ in range(20):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        stop.record()
        stop.synchronize()
        found.append(start.elapsed_time(stop))
    return statistics.median(found)


def row(what, ms):
    print(f"| {what} | {ms:.3f} ms |", flush=True)


def scores(x, v, a, u, b, c, d):
    return (torch.tanh(x @ v + a) * torch.sigmoid(x @ u + b)) @ c + d


def bag_by_bag(x, ends, *p):
    slides = []
    for first, last in zip(ends[:-1], ends[1:]):
        bag = x[first:last]
        weight = torch.softmax(scores(bag, *p).float(), 0)
        slides.append(weight.to(bag.dtype).T @ bag)
    return torch.cat(slides)


def flat(x, segment, *p):
    e = scores(x, *p).float().squeeze(1)
    top = torch.full((BAGS,), -torch.inf, device=x.device).scatter_reduce(0, segment, e, "amax")
    w = torch.exp(e - top[segment])
    total = torch.zeros(BAGS, device=x.device).index_add(0, segment, w)
    return torch.zeros(BAGS, FEATURES, device=x.device).index_add(0, segment, (w / total[segment])[:, None] * x)


def attention():
    lengths = [7000 + 2000 * ((b * 37) % BAGS) // BAGS for b in range(BAGS)]
    ends = [0]
    for n in lengths:
        ends.append(ends[-1] + n)
    segment = torch.repeat_interleave(torch.arange(BAGS), torch.tensor(lengths)).to(DEVICE)
    for dtype, tf32 in ((torch.float32, False), (torch.float32, True), (torch.bfloat16, False)):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        name = "tf32" if tf32 else str(dtype).split(".")[1]
        x = torch.rand(ends[-1], FEATURES, device=DEVICE).to(dtype) * 2 - 1
        p = [torch.rand(s, device=DEVICE).to(dtype) * 2 - 1
             for s in ((FEATURES, WIDTH), (WIDTH,), (FEATURES, WIDTH), (WIDTH,), (WIDTH, 1), (1,))]
        with torch.inference_mode():
            row(f"gated attention, bag by bag, {name}", median_ms(lambda: bag_by_bag(x, ends, *p)))
            row(f"gated attention, flat, {name}", median_ms(lambda: flat(x, segment, *p)))
            if not ARGS.no_compile:
                compiled = torch.compile(flat)
                row(f"gated attention, flat, {name}, compiled", median_ms(lambda: compiled(x, segment, *p)))
    torch.backends.cuda.matmul.allow_tf32 = False


def cox():
    n = 1_000_000
    time = torch.rand(n, device=DEVICE)
    event = (torch.arange(n, device=DEVICE) % 5 < 2).float()
    order = torch.argsort(time, descending=True)
    score = (torch.rand(n, device=DEVICE) * 2 - 1).requires_grad_()

    def step(order):
        score.grad = None
        s = score[order]
        loss = ((torch.logcumsumexp(s, 0) - s) * event[order]).sum()
        loss.backward()

    row("Cox, value and gradient (no ties), N = 1e6, order kept", median_ms(lambda: step(order)))
    row("Cox, value and gradient (no ties), N = 1e6, with the sort",
        median_ms(lambda: step(torch.argsort(time, descending=True))))


def training():
    def model():
        return torch.nn.ModuleDict({
            "feat": torch.nn.Linear(1536, 512), "a": torch.nn.Linear(512, 384), "b": torch.nn.Linear(512, 384),
            "c": torch.nn.Linear(384, 1), "head": torch.nn.Linear(512, 32)}).to(DEVICE)

    def forward(m, x):
        h = torch.relu(m["feat"](x))
        weight = torch.softmax(m["c"](torch.tanh(m["a"](h)) * torch.sigmoid(m["b"](h))), 0)
        return m["head"](weight.T @ h)

    x = torch.rand(10000, 1536, device=DEVICE) * 2 - 1
    for tf32 in (False, True):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        for compiles in ((False,) if ARGS.no_compile else (False, True)):
            m = model()
            optimiser = torch.optim.AdamW(m.parameters(), 1e-4, fused=True)
            run = torch.compile(forward) if compiles else forward

            def step():
                optimiser.zero_grad()
                torch.nn.functional.softplus(run(m, x)).sum().backward()
                optimiser.step()

            row(f"training step of abmil, 10,000 x 1536, {'tf32' if tf32 else 'float'}{', compiled' if compiles else ''}",
                median_ms(step))


print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name()}\n\n| what | PyTorch |\n| --- | --- |")
attention()
training()
cox()
