"""What a forward pass takes, returns and is written with: structures, attention, torch's tools."""

import contextlib
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import pellucid as pl
from tests.architectures.functions import IMAGE, INDEX, WEIGHT, X, of_x
from tests.architectures.program import Program, net, normal, program

TOKENS = normal(2, 4, 6)

Pair = namedtuple("Pair", ["logits", "hidden"])


@dataclass
class Answer:
    logits: Tensor
    hidden: tuple[Tensor, ...]
    loss: Tensor | None = None


@dataclass(frozen=True)
class Frozen:
    logits: Tensor


OUTPUTS: dict[str, Callable[[], Program]] = {
    "dict": of_x(lambda x: {"logits": x @ WEIGHT, "none": None}, target=("logits", 1)),
    "nested dict": of_x(
        lambda x: {"a": {"b": [x, x @ WEIGHT]}}, target=lambda output: output["a"]["b"][1][:, 2]
    ),
    "ordered dict": of_x(lambda x: OrderedDict(logits=x @ WEIGHT, p=x), target=("logits", 1)),
    "tuple": of_x(lambda x: (x @ WEIGHT, x * 2, "text", 3)),
    "list": of_x(lambda x: [x @ WEIGHT, [x * 2]]),
    "namedtuple": of_x(lambda x: Pair(x @ WEIGHT, x * 2), target=pl.Target.path(0, target=1)),
    "namedtuple by name": of_x(lambda x: Pair(x @ WEIGHT, x * 2), target=("logits", 1)),
    "dataclass": of_x(lambda x: Answer(x @ WEIGHT, (x, x * 2)), target=("logits", 1)),
    "frozen dataclass": of_x(lambda x: Frozen(x @ WEIGHT), target=("logits", None)),
    "one score a sample": of_x(lambda x: (x @ WEIGHT).sum(1), target=0),
    "integers beside scores": of_x(lambda x: (x @ WEIGHT, x.argmax(1), x > 0)),
    "the input itself": of_x(lambda x: x),
    "a view of the input": of_x(lambda x: x[:, 1:3]),
    "the same tensor twice": of_x(lambda x: (y := x * 2, y)),
}

A, B = normal(3, 5, seed=4), normal(3, 2, seed=5)
INPUTS: dict[str, Callable[[], Program]] = {
    "two inputs": lambda: program(net(lambda a, b: a[:, :2] * b), A, B),
    "one of them unused": lambda: program(net(lambda a, b: a * 2), A, B, unused=(1,)),
    "one of them detached": lambda: program(
        net(lambda a, b: a * b.detach().sum()), A, B, unused=(1,)
    ),
    "ids and numbers": lambda: program(
        net(lambda table, ids, x: table(ids).mean(1) * x, nn.Embedding(7, 5)), INDEX, A
    ),
    "a mask": lambda: program(net(lambda x, mask: x.masked_fill(mask, 0.0).exp()), A, A > 0),
    "by keyword": lambda: program_of({"x": A, "y": B}, net(lambda *, y, x: x[:, 1:3] / (y**2 + 1))),
    "the same tensor twice": lambda: program(net(lambda a, b: a * b.sin()), A, A),
    "views of one tensor": lambda: program(net(lambda a, b: a * b), A[:, :3], A[:, 2:]),
    "expanded": lambda: program(net(lambda x: x * torch.arange(5)), A[:1].expand(3, 5)),
    "strided": lambda: program(net(lambda x: x.tanh() @ WEIGHT), normal(6, 10)[::2, ::2]),
    "transposed": lambda: program(net(lambda x: x.tanh() @ WEIGHT), normal(5, 3).T),
    "channels last": lambda: program(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True), nn.MaxPool2d(2)),
        IMAGE.contiguous(memory_format=torch.channels_last),
    ),
    "channels last weights": lambda: program(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(True), nn.AvgPool2d(2), nn.Flatten()).to(
            memory_format=torch.channels_last
        ),
        IMAGE,
    ),
    "channels last volume": lambda: program(
        nn.Sequential(nn.Conv3d(2, 3, 3), nn.ReLU(True)),
        normal(2, 2, 4, 4, 4).contiguous(memory_format=torch.channels_last_3d),
    ),
    "a graph of the user's": lambda: program(
        net(lambda x: x.tanh() @ WEIGHT), A.clone().requires_grad_() * 2
    ),
    "complex": lambda: program(net(lambda x: (x * x).abs()), torch.complex(A, A.flip(0))),
}


def program_of(inputs: dict[str, Tensor], model: nn.Module) -> Program:
    return Program(model=model.double().eval(), inputs=inputs)


class Square(torch.autograd.Function):
    """A function with a backward of its own, which is the right one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * signal


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 5), nn.GELU())


class Meta(nn.Module):
    """Adapts its weights by one step of gradient descent inside the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        weights = dict(self.layer.named_parameters())

        def loss(weights: dict[str, Tensor]) -> Tensor:
            return torch.func.functional_call(self.layer, weights, (x,)).square().mean()

        slopes = torch.func.grad(loss)(weights)
        moved = {name: weight - 0.1 * slopes[name] for name, weight in weights.items()}
        return torch.func.functional_call(self.layer, moved, (x,))


class Energy(nn.Module):
    """Answers with the gradient of an energy, which autograd computes inside the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers()

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            energy = self.layers(x).square().sum()
            return torch.autograd.grad(energy, x, create_graph=True)[0]


def ensemble() -> nn.Module:
    models = [nn.Linear(5, 4).double() for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(models)
    base = models[0]

    def one(weights: Any, x: Tensor) -> Tensor:
        return torch.func.functional_call(base, weights, (x,)).tanh()

    return net(lambda x: torch.vmap(one, in_dims=(0, None))(parameters, x).mean(0))


def attention(x: Tensor, **options: Any) -> Tensor:
    q = x.unflatten(-1, (2, 3)).transpose(1, 2)
    return F.scaled_dot_product_attention(q, q.flip(2), q.sin(), **options)


def grouped(x: Tensor) -> Tensor:
    """Four heads of queries, two of keys and values."""
    q = torch.cat([x, x.cos()], -1).unflatten(-1, (4, 3)).transpose(1, 2)
    k = x.unflatten(-1, (2, 3)).transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, k.tanh(), enable_gqa=True)


def flash(x: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return attention(x)


def heads(**options: Any) -> Callable[[], Program]:
    """Multi-head attention with these options of its call."""
    layer = nn.MultiheadAttention(6, 2, batch_first=True)
    return lambda: program(
        net(lambda layer, x: layer(x, x.flip(1), x.tanh(), **options), layer), TOKENS
    )


CAUSAL = torch.ones(4, 4, dtype=torch.bool).triu(1)
PADDING = torch.tensor([[False, False, True, True], [False, False, False, True]])

ATTENTION: dict[str, Callable[[], Program]] = {
    "plain": lambda: program(net(attention), TOKENS),
    "causal": lambda: program(net(lambda x: attention(x, is_causal=True)), TOKENS),
    "scaled": lambda: program(net(lambda x: attention(x, scale=0.3)), TOKENS),
    "mask": lambda: program(net(lambda x: attention(x, attn_mask=~CAUSAL)), TOKENS),
    "additive mask": lambda: program(net(lambda x: attention(x, attn_mask=normal(4, 4))), TOKENS),
    "mask that is a signal": lambda: program(
        net(lambda x: attention(x, attn_mask=(x @ x.mT)[:, None])), TOKENS
    ),
    "grouped queries": lambda: program(net(grouped), TOKENS),
    "a kernel of the model's choice": lambda: program(net(flash), TOKENS),
    "dropout that draws": lambda: program(net(lambda x: attention(x, dropout_p=0.3)), TOKENS),
    "without weights": heads(need_weights=False),
    "with weights": heads(),
    "weights of each head": heads(average_attn_weights=False),
    "padding": heads(key_padding_mask=PADDING),
    "causal heads": heads(attn_mask=CAUSAL, is_causal=True, need_weights=False),
    "padding and mask": heads(key_padding_mask=PADDING, attn_mask=CAUSAL, need_weights=False),
}


def normed(function: Callable[..., nn.Module], **options: Any) -> nn.Module:
    return nn.Sequential(function(nn.Linear(5, 4), **options), nn.Tanh(), function(nn.Linear(4, 3)))


class Symmetric(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.triu() + x.triu(1).mT


def symmetric() -> nn.Module:
    layer = nn.Linear(5, 5)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return nn.Sequential(layer, nn.Tanh())


def cached(x: Tensor) -> Tensor:
    with parametrize.cached():
        return CACHED(CACHED(x))


CACHED = symmetric().double().eval()


class Switching(nn.Module):
    """Changes modes and contexts on its own in the middle of its forward pass."""

    def __init__(self, *contexts: Callable[[], Any]) -> None:
        super().__init__()
        self.first, self.last, self.contexts = nn.Linear(5, 6), nn.Linear(6, 4), contexts

    def forward(self, x: Tensor) -> Tensor:
        with contextlib.ExitStack() as stack:
            for context in self.contexts:
                stack.enter_context(context())
            h = self.first(x).sigmoid()
        return self.last(h.to(x.dtype))


def reentrant() -> Program:
    """Its backward pass is for `backward()` alone, so autograd is asked without it."""
    f = layers().double()
    model = net(lambda f, x: checkpoint(f, x * 2, use_reentrant=True), f)
    return program(model, X, twin=lambda x: f(x * 2))


TOOLS: dict[str, Callable[[], Program]] = {
    "checkpoint": lambda: program(
        net(lambda f, x: checkpoint(f, x, use_reentrant=False), layers()), X
    ),
    "reentrant checkpoint": reentrant,
    "checkpoint of parts": lambda: program(
        net(lambda f, x: checkpoint_sequential(f, 2, x, use_reentrant=False), layers()), X
    ),
    "vmap": lambda: program(
        net(lambda x: torch.vmap(lambda row: row.outer(row).tanh() @ row)(x)), X
    ),
    "vmap of a layer": lambda: program(net(lambda f, x: torch.vmap(f)(x), layers()), X),
    "vmap over heads": lambda: program(
        net(lambda x: torch.vmap(torch.vmap(torch.dot, (0, 0)), (0, None))(x[None] * 2, x)), X
    ),
    "ensemble by vmap": lambda: program(ensemble(), X),
    "jacobian inside": lambda: program(
        net(lambda x: torch.vmap(torch.func.jacrev(lambda r: r.sin() * r.sum()))(x)), X
    ),
    "forward derivative inside": lambda: program(
        net(lambda x: torch.func.jvp(lambda y: y.sin() * y, (x,), (x.cos(),))[1]), X
    ),
    "weights adapted inside": lambda: program(Meta(), X),
    "functional call": lambda: program(
        net(
            lambda f, x: torch.func.functional_call(
                f, {k: v * 2 for k, v in f.named_parameters()}, (x,)
            ),
            layers(),
        ),
        X,
    ),
    "a backward of its own": lambda: program(net(lambda x: Square.apply(x.sin()) @ WEIGHT), X),
    "weight norm": lambda: program(normed(parametrizations.weight_norm), X),
    "spectral norm": lambda: program(normed(parametrizations.spectral_norm), X),
    "orthogonal weights": lambda: program(normed(parametrizations.orthogonal), X),
    "a parametrisation": lambda: program(symmetric(), X),
    "a cached parametrisation": lambda: program(net(cached), X),
    "pruned weights": lambda: program(pruned(), X),
    "hooks that change values": lambda: program(hooked(), X),
    "weights without gradients": lambda: program(layers().requires_grad_(False), X),
    "gradients switched on": lambda: program(Switching(torch.enable_grad), X),
    "weights in a scripted function": lambda: program(
        net(lambda f, x: f(x), torch.jit.script(layers())), X
    ),
    "data parallel": lambda: program(nn.DataParallel(layers()), X),
    "packed sequences": lambda: program(Packed(), normal(3, 5, 4)),
    "a tensor subclass": lambda: program(net(lambda x: x.as_subclass(Tagged) * 2 + 1), X),
    "a buffer that is written to": lambda: program(Moving(), X),
    "another thread of control": lambda: program(
        net(lambda x: torch.jit.wait(torch.jit.fork(torch.sin, x))), X
    ),
}


class Tagged(Tensor):
    """A tensor with a type of its own, as data sets use."""


class Moving(nn.Module):
    """Keeps a moving average of its hidden values, in evaluation mode too, and reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)
        self.register_buffer("mean", torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        with torch.no_grad():
            self.mean.mul_(0.9).add_(h.mean(0), alpha=0.1)
        return h * self.mean.clone().detach()


class Packed(nn.Module):
    """Sequences of unlike length, packed for a recurrent layer and padded again."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(4, 3, batch_first=True, bidirectional=True, num_layers=2)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.tensor([2, 5, 3])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
        out, (h, c) = self.layer(packed)
        padded, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
        return padded.sum(1) + torch.cat([h, c]).permute(1, 0, 2).flatten(1)[:, :6]


def pruned() -> nn.Module:
    made = layers()
    for layer in made[::2]:
        prune.random_unstructured(layer, "weight", 0.4)
    return made


def hooked() -> nn.Module:
    made = layers()
    made[0].register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    made[1].register_forward_hook(lambda module, args, output: output + args[0])
    return made
