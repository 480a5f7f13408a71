"""Modules that torch has traced, scripted or compiled, and modules in other precisions."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures.functions import X
from tests.architectures.networks import IMAGE, ResNet, ViT
from tests.architectures.program import Program, net, normal, program
from tests.architectures.tools import TOKENS, attention, layers


class Branching(nn.Module):
    """Python that a script keeps: a loop, a branch on the data, a list, an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)
        self.steps = 3

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for _ in range(self.steps):
            x = F.relu_(self.layer(x)) if bool(x.sum() > 0) else self.layer(-x).tanh()
            parts.append(x)
        return torch.cat(parts, 1)


class Steps(nn.Module):
    """A recurrent layer in a script."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(6, 3, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        out, (h, _) = self.layer(x)
        return out.sum(0) + torch.cat([h[0], h[1]], 1)


def encoder() -> nn.Module:
    """A layer that asks for lengths in Python, which a trace asks for as tensors."""
    return nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)


def traced(model: nn.Module, x: Tensor) -> Program:
    model = model.double().eval()
    return program(torch.jit.trace(model, x, check_trace=False), x)


def scripted(model: nn.Module, x: Tensor) -> Program:
    return program(torch.jit.script(model.double().eval()), x)


def frozen() -> Program:
    script = torch.jit.script(layers().double().eval())
    return Program(model=torch.jit.freeze(script), inputs=X)


def compiled(model: nn.Module, x: Tensor) -> Program:
    return program(torch.compile(model.double().eval(), backend="eager"), x)


def compiled_function() -> Program:
    return program(torch.compile(lambda x: (x.sin() @ x.T).relu(), backend="eager"), X)


def exported() -> Program:
    model = layers().double().eval()
    return Program(model=torch.export.export(model, (X,)).module(), inputs=X)


FORMS: dict[str, Callable[[], Program]] = {
    "traced": lambda: traced(layers(), X),
    "traced ResNet": lambda: traced(ResNet(), IMAGE),
    "traced LSTM": lambda: traced(net(lambda f, x: f(x)[0], nn.LSTM(6, 3)), TOKENS),
    "traced attention": lambda: traced(net(attention), TOKENS),
    "traced encoder": lambda: traced(encoder(), TOKENS),
    "a traced part": lambda: program(
        nn.Sequential(nn.Linear(5, 5), torch.jit.trace(layers().double(), X), nn.ReLU()), X
    ),
    "scripted": lambda: scripted(layers(), X),
    "scripted ResNet": lambda: scripted(ResNet(), IMAGE),
    "scripted LSTM": lambda: scripted(Steps(), TOKENS),
    "scripted loops and branches": lambda: scripted(Branching(), X),
    "scripted and frozen": frozen,
    "compiled": lambda: compiled(layers(), X),
    "compiled with a broken graph": lambda: compiled(Branching(), X),
    "a compiled function": compiled_function,
    "a compiled part": lambda: program(
        nn.Sequential(nn.Linear(5, 5), torch.compile(layers(), backend="eager"), nn.ReLU()), X
    ),
    "exported": exported,
    "symbolically traced": lambda: program(torch.fx.symbolic_trace(layers()), X),
    "fake quantised": lambda: program(
        net(lambda x: torch.fake_quantize_per_tensor_affine(x * 2, 0.1, 0, -20, 20)), X
    ),
}


def half(model: nn.Module, x: Tensor) -> Program:
    """In bfloat16, where two ways to sum the same differ by a percent."""
    made = model.eval().bfloat16()
    return Program(model=made, inputs=x.bfloat16(), rtol=0.05, atol=0.05)


def single(model: nn.Module, x: Tensor) -> Program:
    return Program(model=model.eval().float(), inputs=x.float(), rtol=1e-4, atol=1e-5)


HALF: dict[str, Callable[[], Program]] = {
    "dense": lambda: half(layers(), X),
    "ResNet": lambda: half(ResNet(), IMAGE),
    "ViT": lambda: half(ViT(fused=False), IMAGE),
    "LSTM": lambda: half(nn.LSTM(6, 3, batch_first=True), TOKENS),
    "attention": lambda: half(net(attention), TOKENS),
    "norms": lambda: half(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.RMSNorm(6)), TOKENS),
}

SINGLE: dict[str, Callable[[], Program]] = {
    "dense": lambda: single(layers(), X),
    "ResNet": lambda: single(ResNet(), IMAGE),
    "ViT": lambda: single(ViT(fused=False), IMAGE),
    "ViT on the fast path": lambda: single(ViT(fused=True), IMAGE),
    "LSTM": lambda: single(nn.LSTM(6, 3, num_layers=2, batch_first=True), TOKENS),
    "GRU": lambda: single(nn.GRU(6, 3, bidirectional=True, batch_first=True), TOKENS),
    "RNN": lambda: single(nn.RNN(6, 3), TOKENS),
    "attention": lambda: single(net(attention), TOKENS),
    "convolution": lambda: single(nn.Conv2d(3, 8, 3, groups=1), normal(2, 3, 9, 9)),
    "transposed convolution": lambda: single(nn.ConvTranspose2d(3, 8, 3), normal(2, 3, 9, 9)),
}
