"""Writes the checkpoints of this folder: python3 make.py, with PyTorch 2. The tests know the elements by formula.

Prints what the model of abmil.pth says of its bag, in float64; the numbers stand in torch_checkpoint.test.cpp.
"""
import os
from collections import OrderedDict

import torch
from torch import nn

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def eighths(count, start):
    """Multiples of 1/8 from -5/8 to 5/8: exact in every type of float."""
    return torch.tensor([((7 * i + 3 * start) % 11 - 5) / 8 for i in range(count)])


class Gated(nn.Module):
    def __init__(self, width, attention):
        super().__init__()
        self.attention_a = nn.Sequential(nn.Linear(width, attention), nn.Tanh())
        self.attention_b = nn.Sequential(nn.Linear(width, attention), nn.Sigmoid())
        self.attention_c = nn.Linear(attention, 1)

    def forward(self, h):
        return self.attention_c(self.attention_a(h) * self.attention_b(h))


class Abmil(nn.Module):
    """Attention-based multiple-instance learning under the parameter names of the STEPH checkpoints."""

    def __init__(self, features, width, attention, outputs):
        super().__init__()
        self.feat_proj = nn.Sequential(nn.Linear(features, width), nn.ReLU())
        self.attention_net = Gated(width, attention)
        self.pred_head = nn.Linear(width, outputs)

    def forward(self, x):
        h = self.feat_proj(x)
        weight = torch.softmax(self.attention_net(h), dim=0)
        return self.pred_head((weight * h).sum(dim=0)), weight[:, 0]


def save_abmil():
    model = Abmil(5, 4, 3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)
    for k, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, k + 0.5)
    optimizer.step()
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            parameter.copy_(eighths(parameter.numel(), k).reshape(parameter.shape))
    state = {"model": model.state_dict(), "epoch": 3, "optimizer": optimizer.state_dict(),
             "scheduler": scheduler.state_dict()}
    torch.save(state, "abmil.pth")
    x = torch.tensor([[((5 * n + 3 * f) % 7 - 3) / 4 for f in range(5)] for n in range(6)], dtype=torch.float64)
    logits, attention = model.double()(x)
    print("logits", [repr(v) for v in logits.tolist()])
    print("attention", [repr(v) for v in attention.tolist()])


def save_types():
    integers = {"i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8}
    floats = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
    state = {name: (torch.arange(6) * 20 - 50).to(dtype).reshape(2, 3) for name, dtype in integers.items()}
    state.update({name: ((torch.arange(6) - 3) / 4).to(dtype).reshape(2, 3) for name, dtype in floats.items()})
    state["u8"] = (torch.arange(6) * 50).to(torch.uint8)
    state["bool"] = torch.arange(6) % 3 == 0
    state["scalar"] = torch.tensor(0.75)
    state["empty"] = torch.zeros(3, 0)
    state["cube"] = torch.arange(24, dtype=torch.int16).reshape(2, 3, 4)
    state["dtype"] = torch.float32
    state["size"] = torch.Size([2, 3])
    torch.save(state, "types.pt")


def save_views():
    base = torch.arange(24, dtype=torch.float32)
    grid = base.reshape(4, 6)
    layer = OrderedDict(weight=nn.Parameter(grid.t()), tied=base)
    layer._metadata = OrderedDict({"": {"version": 1}})
    slices = [grid[1:3, 1:4], grid[:, ::2], (base[20:], grid[3, 1:])]
    torch.save({"layer": layer, "slices": slices, 7: {"cube": base.reshape(2, 3, 4).permute(2, 0, 1)}}, "views.pt",
               pickle_protocol=5)


def save_others():
    torch.save(torch.arange(5, dtype=torch.float64) / 2, "tensor.pt", pickle_protocol=4)
    torch.save({"x": torch.arange(3.0)}, "before_1_6.pth", _use_new_zipfile_serialization=False)
    torch.save(nn.ReLU(), "module.pth")
    torch.save({"x": torch.ones(1).expand(3)}, "expanded.pt")


save_abmil()
save_types()
save_views()
save_others()
