"""A walk with adjoints as rules is back-propagation: it equals autograd, exact zeros included."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.structure import Inputs
from pellucid.tape.walk import gradient as walked
from pellucid.target import Target
from tests import autograd, zoo

# Tokens have no gradient of their own: see test_tokens.py.
DIFFERENTIABLE = [n for n in zoo.NETWORKS if n not in ("training", "softmax", "tokens")]


def walk(model: object, inputs: object, target: object = None) -> object:
    taken = Inputs.of(inputs)
    found = walked(pl.record(model, inputs).aim(Target.of(target)))
    zeros = [torch.zeros_like(leaf) for leaf in taken.leaves]
    return taken.pack([z if g is None else g for g, z in zip(found, zeros, strict=True)])


def check(model: object, inputs: object, target: object = None, rtol: float = 1e-10) -> None:
    """Equal to a relative 1e-6 in float32, to rounding in float64, and zero where autograd is."""
    expected, found = autograd.gradient(model, inputs, target), walk(model, inputs, target)
    single = rtol < 1e-7
    assert_close(found, expected, rtol=rtol, atol=1e-12 if single else 1e-6)
    pairs = zip(Inputs.of(found).leaves, Inputs.of(expected).leaves, strict=True)
    assert all(torch.equal(a == 0, b == 0) for a, b in pairs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_zoo(name, dtype):
    net = zoo.load(name, dtype)
    check(net.model, net.inputs, net.target, rtol=1e-10 if dtype is torch.float64 else 1e-6)


def test_a_softmax_at_the_end_is_left_out():
    net = zoo.load("softmax")
    assert_close(walk(net.model, net.inputs, net.target), net.gradient)


X = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
W = torch.randn(4, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
B = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
V = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
MASK = torch.tensor([True, False, True, True, False, True])

# One operation at a time, on an image; the score is a weighted sum of what comes out.
OPERATIONS = {
    "conv": lambda x: F.conv2d(x, W, B),
    "conv strided, padded, dilated": lambda x: F.conv2d(x, W, None, 2, 2, 2),
    "conv in groups": lambda x: F.conv2d(x, W[:3, :1], None, groups=3),
    "conv 1d": lambda x: F.conv1d(x.flatten(2), W.flatten(2)),
    "conv 3d": lambda x: F.conv3d(x[:, :, None], W[:, :, None]),
    "conv transposed": lambda x: F.conv_transpose2d(x, W[:3], None, 2, 1, 1),
    "linear": lambda x: F.linear(x, V.t()),
    "matmul": lambda x: x @ V,
    "matmul of itself": lambda x: x @ x.mT,
    "einsum": lambda x: torch.einsum("nchw,wk->nckh", x, V),
    "baddbmm": lambda x: torch.baddbmm(x[:, 0], x[:, 1], x[:, 2]),
    "max pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max pool 1d": lambda x: F.max_pool1d(x.flatten(2), 3),
    "avg pool": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "avg pool without padding": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "adaptive avg pool": lambda x: F.adaptive_avg_pool2d(x, (4, 1)),
    "adaptive max pool": lambda x: F.adaptive_max_pool2d(x, 2),
    "batch norm": lambda x: F.batch_norm(x, B[:3], B[:3].square(), B[1:], B[:3]),
    "batch norm without affine": lambda x: F.batch_norm(x, B[:3], B[:3].square()),
    "layer norm": lambda x: F.layer_norm(x, (6, 6)),
    "group norm": lambda x: F.group_norm(x, 3),
    "instance norm": lambda x: F.instance_norm(x),
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky relu": lambda x: F.leaky_relu(x, 0.2),
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
    "hardswish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "clamp from below": lambda x: x.clamp(min=0),
    "threshold": lambda x: F.threshold(x, 0.1, 0.0),
    "abs": torch.abs,
    "exp": lambda x: (-x.square()).exp(),
    "pow": lambda x: x**3,
    "sqrt": lambda x: (x.square() + 1).sqrt(),
    "log": lambda x: (x.square() + 1).log(),
    "prelu": lambda x: F.prelu(x, B[:3].abs()),
    "softmax inside": lambda x: x.softmax(1) * x,
    "log softmax inside": lambda x: x.log_softmax(-1) * x,
    "logsumexp": lambda x: x.logsumexp(1),
    "add twice": lambda x: x + x,
    "add broadcast": lambda x: x + x.mean((2, 3), keepdim=True),
    "add alpha": lambda x: torch.add(x, x.exp(), alpha=3),
    "sub": lambda x: 1 - x,
    "sub two": lambda x: torch.sub(x.exp(), x, alpha=2),
    "mul broadcast": lambda x: x * x.amax((2, 3), keepdim=True).sigmoid(),
    "div": lambda x: x / (1 + x.square()),
    "div by constant": lambda x: x / 3,
    "sum": lambda x: x.sum((1, 3)),
    "sum all axes": lambda x: x.flatten(1).sum(1, keepdim=True),
    "mean": lambda x: x.mean(2, keepdim=True),
    "amax": lambda x: x.amax((2, 3)),
    "max with indices": lambda x: x.max(3)[0],
    "maximum": lambda x: torch.maximum(x, x.flip(2)),
    "topk": lambda x: x.topk(2, dim=3)[0],
    "sort": lambda x: x.sort(dim=2)[0],
    "cumsum": lambda x: x.cumsum(2),
    "norm": lambda x: x.norm(dim=1),
    "var": lambda x: x.var(1),
    "cat": lambda x: torch.cat([x, x[:, :1], x * 2], 1),
    "stack": lambda x: torch.stack([x, x.exp()], 2),
    "split": lambda x: torch.cat(x.split([1, 2], 1)[::-1], 1),
    "chunk": lambda x: x.chunk(2, 3)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "index": lambda x: x[:, [2, 0, 0]],
    "masked": lambda x: x[:, :, MASK],
    "gather": lambda x: x.gather(1, torch.zeros(2, 2, 6, 6, dtype=torch.long)),
    "index select": lambda x: x.index_select(2, torch.tensor([1, 1, 4])),
    "strided slice": lambda x: x[:, :, ::2, 1::3],
    "permute": lambda x: x.permute(0, 2, 3, 1).reshape(2, -1, 3),
    "expand": lambda x: x[:, :, None].expand(-1, -1, 2, -1, -1),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "flip and roll": lambda x: x.flip(2).roll(1, 3),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=2.0),
    "reflect": lambda x: F.pad(x, (1, 2, 1, 1), mode="reflect"),
    "unfold": lambda x: F.unfold(x, 3),
    "pixel shuffle": lambda x: F.pixel_shuffle(x[:, [0, 1, 2, 0]], 2),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, size=(9, 5), mode="bilinear", align_corners=False),
    "where": lambda x: torch.where(x > 0, x, x * 0.1),
    "masked fill": lambda x: x.masked_fill(x < 0, -1.0),
    "tril": lambda x: x.tril(),
    "detached part": lambda x: x * x.detach(),
    "rounded part": lambda x: x * x.round(),
    "cast": lambda x: x.float().double(),
    "cosine": lambda x: F.cosine_similarity(x[:, 0], x[:, 1], dim=-1),
    "dropout that is off": lambda x: F.dropout(x, 0.5, training=False),
    "attention": lambda x: F.scaled_dot_product_attention(x, x.flip(1), x.mT),
}


class Summed(nn.Module):
    """A function, and a weighted sum of what it gives."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        flat = self.function(x).flatten(1)
        weight = torch.linspace(-1, 2, flat.shape[1], dtype=flat.dtype)
        return (flat * weight).sum(1)


@pytest.mark.parametrize("name", OPERATIONS)
def test_single_operations(name):
    check(Summed(OPERATIONS[name]), X, rtol=1e-9)


def _in_place(change: object) -> object:
    """Write to something computed from the input, and read what was there before and after."""

    def program(x: Tensor) -> Tensor:
        before = x * 2
        gate = before.sigmoid()
        result = change(before)
        return gate * before + (0 if result is None else result.mean() * 0 + before.exp())

    return program


WRITES = {
    "relu_": lambda h: h.relu_(),
    "clamp_": lambda h: h.clamp_(0, 1),
    "hardtanh_": lambda h: F.hardtanh_(h, -0.3, 0.4),
    "sigmoid_": lambda h: h.sigmoid_(),
    "add_": lambda h: h.add_(h.exp()),
    "mul_": lambda h: h.mul_(h.detach().cos()),
    "exp_ twice": lambda h: h.neg_().exp_(),
    "zero part": lambda h: h[:, 0].zero_(),
    "fill part": lambda h: h[:, :, 1:3].fill_(2.0),
    "copy part": lambda h: h[:, 0].copy_(h[:, 1]),
    "add to part": lambda h: h[:, :2].add_(h[:, 1:]),
    "relu of part": lambda h: h[:, 1].relu_(),
    "transposed part": lambda h: h.mT[:, :, 0].mul_(3),
    "diagonal": lambda h: h.diagonal(dim1=2, dim2=3).mul_(2),
    "view of a view": lambda h: h.view(2, 3, -1)[:, 1:][:, :, ::2].tanh_(),
    "index put": lambda h: h.__setitem__((slice(None), [0, 2]), h[:, [1, 1]].exp()),
    "mask put": lambda h: h.__setitem__((slice(None), slice(None), MASK), 0.5),
    "masked_fill_": lambda h: h.masked_fill_(h > 0.5, 1.0),
    "scatter_": lambda h: h.scatter_(1, torch.zeros(2, 1, 6, 6, dtype=torch.long), 2 * h[:, 1:2]),
    "two views": lambda h: (a := h[:, :2], b := h[:, 1:], a.mul_(2), b.add_(1), a.add_(b))[-1],
    "a constant that a signal is written to": lambda h: torch.ones_like(h).mul_(h),
    "one that is copied to": lambda h: torch.cat([h, torch.empty_like(h).copy_(h).relu_()], 1),
}

# What autograd refuses, or does not see; beside each the same without a write.
REFUSED = {
    "times itself": (lambda h: h.mul_(h), lambda h: h * h),
    "out": (
        lambda h: torch.mul(h, h.exp(), out=torch.empty_like(h)),
        lambda h: h * h.exp(),
    ),
    "a value that is needed again": (
        lambda h: (h.exp() * h.sin()) * h.mul_(2),
        lambda h: (h.exp() * h.sin()) * (h * 2),
    ),
    "a softmax that is overwritten": (
        lambda h: h.softmax(1).mul_(h),
        lambda h: h.softmax(1) * h,
    ),
    "a square that is overwritten": (
        lambda h: (a := h.exp(), a.square(), a.zero_())[1],
        lambda h: h.exp().square(),
    ),
    "another memory under the same name": (
        lambda h: (a := h * 1, setattr(a, "data", h.exp()), a * 2)[-1],
        lambda h: h.exp() * 2,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_writes_that_autograd_refuses(name):
    written, plain = (Summed(lambda x, f=f: f(x * 2)) for f in REFUSED[name])
    expected = autograd.gradient(plain, X)
    for times in range(20):  # memory that was given back may be given out again, or not
        _held = [torch.empty_like(X) for _ in range(times % 5)]
        assert_close(walk(written, X), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", WRITES)
def test_writes(name):
    check(Summed(_in_place(WRITES[name])), X, rtol=1e-9)


def _apply(code: int, live: list[Tensor]) -> None:
    """One step of a random program on a list of tensors of shape (sample, 4)."""
    code, a = divmod(code, len(live))
    code, b = divmod(code, len(live))
    one, two = live[a], live[b]
    half = one.shape[1] // 2
    steps = [
        lambda: live.append(one * 2 + 1),
        lambda: live.append(one + two) if one.shape == two.shape else None,
        lambda: live.append(one.sigmoid()),
        lambda: live.append(one[:, half:]),
        lambda: live.append(one.view(len(one), 2, half).transpose(1, 2)[:, :, 0]) if half else None,
        lambda: live.append(torch.cat([one, two], 1)) if one.shape[1] < 5 else None,
        lambda: one.mul_(0.5),
        lambda: one.relu_(),
        lambda: one.add_(two) if one.shape == two.shape else None,
        lambda: one[:, :half].copy_(two[:, :half]) if two.shape[1] >= half else None,
        lambda: one[:, half:].add_(1).tanh_(),
        lambda: live.append(one.clone()),
        lambda: live.append(one.detach() * two) if one.shape == two.shape else None,
    ]
    steps[code % len(steps)]()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=14))
def test_random_programs_of_views_and_writes(codes):
    def program(x: Tensor) -> Tensor:
        live = [x.tanh(), x * 3]
        for code in codes:
            _apply(code, live)
        return sum((tensor.square().sum(1) * (i + 1) for i, tensor in enumerate(live)))

    x = X[:, 0, 0, :4]
    try:
        expected = autograd.gradient(program, x)
    except RuntimeError:
        return  # autograd refuses the program: a value it needs was overwritten
    assert_close(walk(program, x), expected, rtol=1e-9, atol=1e-9)


def test_a_tape_is_a_table():
    net = zoo.load("residual_in_place")
    tape = pl.record(net.model, net.inputs)
    text = str(tape)
    assert [operation.number for operation in tape.operations] == list(range(len(tape)))
    lines = text.splitlines()
    assert lines[0].split() == ["#", "operation", "layer", "output", "rule"]
    assert len(lines) == len(tape) + 2
    assert any("layers.block" in line and "3x6" in line for line in lines)
    assert [operation.name for operation in tape.operations].count("add") == 1


def test_a_layer_is_found_by_its_path():
    net = zoo.load("convolutional")
    paths = {operation.path for operation in pl.record(net.model, net.inputs).operations}
    assert {"0", "1", "3", "7"} <= paths


def test_a_tape_shares_one_run_with_the_model():
    """What was recorded is what the model returns: bit by bit, but where a fused kernel rounds."""
    for name in DIFFERENTIABLE:
        net = zoo.load(name)
        tape = pl.record(net.model, net.inputs)
        with torch.no_grad():
            copies = Inputs.of(net.inputs)
            expected = copies.replace([x.clone() for x in copies.leaves]).call(net.model)
        fused = name in ("attention", "recurrent")
        assert_close(tape.output, expected, rtol=1e-12 if fused else 0, atol=0)
