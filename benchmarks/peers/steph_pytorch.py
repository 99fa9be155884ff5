#!/usr/bin/env python3
"""STEPH's workloads of benchmarks/models/steph.bench.cpp in PyTorch, as the published program does them: for every bag
the encoder is merged tensor by tensor and called with the merged parameters; the losses of the batch's bags are kept,
averaged and differentiated at once. Prints JSON.

    steph_pytorch.py [--threads N] [--samples S] [--bag-by-bag]      seconds of a training step and of an inference
    steph_pytorch.py --memory inference|training [--bag-by-bag]      MiB beside models, task vectors and the bag

--bag-by-bag: what a careful author would change: backward after each bag, so that one bag's graph lives at a time.
"""
import argparse
import json
import os
import statistics
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--samples", type=int, default=3)
parser.add_argument("--bag-by-bag", action="store_true")
parser.add_argument("--memory", choices=["inference", "training"])
ARGS = parser.parse_args()
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # read by the libraries when they are loaded
    os.environ[variable] = str(ARGS.threads)

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.func import functional_call  # noqa: E402
from torch.nn import functional  # noqa: E402

PATCHES, FEATURES, WIDTH, ATTENTION, BINS, SOURCES, TOP_K, BATCH = 10000, 1536, 512, 384, 32, 12, 5, 16


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.feat_proj = nn.Linear(FEATURES, WIDTH)
        self.hidden, self.gate = nn.Linear(WIDTH, ATTENTION), nn.Linear(WIDTH, ATTENTION)
        self.score = nn.Linear(ATTENTION, 1)

    def forward(self, x):
        h = torch.relu(self.feat_proj(x))
        a = functional.dropout(torch.tanh(self.hidden(h)), 0.25, self.training)
        b = functional.dropout(torch.sigmoid(self.gate(h)), 0.25, self.training)
        weights = torch.softmax(self.score(a * b), dim=0)
        return weights.transpose(0, 1) @ h


def mixing_head():
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Dropout(0.25), nn.Linear(WIDTH, SOURCES))


class Steph(nn.Module):
    def __init__(self, base, sources, target):
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.ReLU())
        self.weight_head, self.ratio_head = mixing_head(), mixing_head()
        self.pred_head = nn.Linear(WIDTH, BINS)
        # Not submodules and not parameters: frozen.
        self.frozen = dict(encoder=base, base={n: p.detach() for n, p in base.named_parameters()})
        self.vectors = [{n: p.detach() - self.frozen["base"][n] for n, p in s.named_parameters()} for s in sources]
        self.target = {n: p.detach() - self.frozen["base"][n] for n, p in target.named_parameters()}

    def forward(self, x):
        u = self.embedding(x).mean(dim=0)
        w = torch.relu(self.weight_head(u))
        share = 1 / (1 + torch.relu(self.ratio_head(u)))
        chosen = torch.topk(w, TOP_K).indices.tolist()
        merged = {n: p for n, p in self.frozen["base"].items()}
        for j in chosen:
            for n in merged:
                merged[n] = merged[n] + w[j] * self.vectors[j][n]
        for j in chosen:
            for n in merged:
                merged[n] = merged[n] + w[j] * share[j] * (self.target[n] - self.vectors[j][n])
        self.frozen["encoder"].train(self.training)
        return self.pred_head(functional_call(self.frozen["encoder"], merged, (x,))), w, share, chosen


def loss_of(logits, w, share, chosen):
    """An event in bin 3, and the penalties."""
    survival = functional.softplus(logits[0, :3]).sum() + functional.softplus(-logits[0, 3])
    aggregation = torch.logsumexp(w, 0) ** 2 + w[chosen].sum() / TOP_K
    return survival + 0.005 * aggregation + 0.05 * (share[chosen] ** 2).sum() / TOP_K


def main():
    torch.set_num_threads(ARGS.threads)
    torch.manual_seed(1)
    base = Encoder()
    others = []
    for _ in range(SOURCES + 1):
        other = Encoder()
        other.load_state_dict({n: p + 0.01 * (2 * torch.rand_like(p) - 1) for n, p in base.state_dict().items()})
        others.append(other)
    model = Steph(base, others[:-1], others[-1])
    others.clear()
    bag = torch.rand(PATCHES, FEATURES) * 2 - 1
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-5, fused=True)

    def training():
        model.train()
        optimiser.zero_grad(set_to_none=True)
        if ARGS.bag_by_bag:
            for _ in range(BATCH):
                (loss_of(*model(bag)) / BATCH).backward()
        else:
            torch.stack([loss_of(*model(bag)) for _ in range(BATCH)]).mean().backward()
        optimiser.step()

    def inference():
        model.eval()
        with torch.inference_mode():
            model(bag)

    def resident(name):
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))

    result = {"torch": torch.__version__, "threads": torch.get_num_threads(), "bag_by_bag": ARGS.bag_by_bag}
    if ARGS.memory:
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")  # the peak begins anew
        before = resident("VmRSS")
        for _ in range(2):
            training() if ARGS.memory == "training" else inference()
        result["extra_mib"] = resident("VmHWM") - before
    else:
        for name, run in (("training", training), ("inference", inference)):
            run()
            times = []
            for _ in range(ARGS.samples):
                begin = time.perf_counter()
                run()
                times.append(time.perf_counter() - begin)
            result[name] = statistics.median(times)
    print(json.dumps(result))


main()
