"""Occlusion on regions only gives the scores of full passes, and says where it cannot."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass

import numpy
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.perturb.incremental import boxes, sliding
from pellucid.perturb.incremental.run import Tables
from pellucid.perturb.occlusion import Cells
from tests.counting import Counting
from tests.zoo.network import normal, seeded

SAVED = "Only the regions that a window can influence"


@dataclass(frozen=True)
class Body:
    """Turns a function into the body of a network."""

    function: Callable[[Tensor], Tensor]

    def __call__(self) -> nn.Module:
        """A module that calls the function."""
        made = nn.Module()
        made.forward = self.function
        return made


def network(*layers: nn.Module, shape: tuple[int, ...] = (3, 17, 21)) -> nn.Module:
    """Layers, a bent head that pools to two places on each axis, and two classes."""
    body = nn.Sequential(*layers).double().eval()
    for number, module in enumerate(body.modules()):
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(generator=torch.Generator().manual_seed(number))
            module.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(number))
        elif not list(module.children()) and list(module.parameters()):
            seeded(module, number)
    with torch.no_grad():
        out = body(torch.zeros(1, *shape, dtype=torch.float64))
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[out.ndim - 3](2)
    flat = out.shape[1] * 2 ** (out.ndim - 2)
    return nn.Sequential(body, nn.Tanh(), pool, nn.Flatten(), seeded(nn.Linear(flat, 2))).double()


class Residual(nn.Module):
    """Adds in place, and rectifies by a function."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 6, 3, stride, 1, bias=False)
        self.norm, self.twice = nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.short = nn.Conv2d(4, 6, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """A block of a ResNet."""
        h = self.twice(self.second(F.relu(self.norm(self.first(x)))))
        h += self.short(x)
        return F.relu_(h)


class Dense(nn.Module):
    """Concatenates what it gets and what it makes of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(width), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """A layer of a DenseNet."""
        return torch.cat([x, self.conv(self.norm(x).relu())], 1)


class UNet(nn.Module):
    """Down, up again, and across."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.down, self.low = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
        self.up, self.last = nn.ConvTranspose2d(5, 5, 2, 2), nn.Conv2d(9, 3, 3, padding=1)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        """A map as large as the input."""
        x = F.pad(x, (0, 3, 1, 2))
        across = self.down(x).sigmoid()
        low = F.silu(self.low(F.max_pool2d(across, 2)))
        large = self.up(low) if not self.how else F.interpolate(low, scale_factor=2, mode=self.how)
        return self.last(torch.cat([across, large], 1))


class Squeezed(nn.Module):
    """Weighs channels by what is in all of the map."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze and excite."""
        return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()


class Mixed(nn.Module):
    """Shuffles channels by views, splits them, adds a grid, and pads by reflection."""

    def forward(self, x: Tensor) -> Tensor:
        """As large as the input."""
        n, c, h, w = x.shape
        a, b = torch.cat([x, -x], 1).split(c, 1)
        grid = (
            torch.linspace(0, 1, w, dtype=x.dtype) * torch.linspace(1, 2, h, dtype=x.dtype)[:, None]
        )
        x = torch.where(a > b, a * grid, b).clamp(-2, 2)
        return x.reshape(n, c // 2, 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def attention(x: Tensor) -> Tensor:
    flat = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(flat, flat, flat).transpose(1, 2).reshape(x.shape)


def picked(x: Tensor) -> Tensor:
    return x[:, torch.tensor([True, False, True, True])] * x[:, 1:, [5, 1]].mean((2, 3), True)


C = nn.Conv2d
ZOO: dict[str, Callable[[], list[nn.Module]]] = {
    "vgg": lambda: [
        *(C(3, 4, 3, padding=1), nn.ReLU(True), C(4, 4, 3, padding=1), nn.ReLU(True)),
        *(nn.MaxPool2d(2, 2), C(4, 6, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2, 2)),
    ],
    "resnet": lambda: [C(3, 4, 5, 2, 2, bias=False), nn.MaxPool2d(3, 2, 1), Residual(1)],
    "resnet strided": lambda: [C(3, 4, 3), Residual(2)],
    "densenet": lambda: [Dense(3), Dense(6), nn.AvgPool2d(2), Dense(9)],
    "unet": lambda: [UNet("")],
    "unet nearest": lambda: [UNet("nearest")],
    "unet bilinear": lambda: [UNet("bilinear")],
    "unet bicubic": lambda: [UNet("bicubic")],
    "depthwise": lambda: [C(3, 6, 3, groups=3), nn.ReLU6(True), C(6, 6, 3, groups=6), C(6, 4, 1)],
    "dilated": lambda: [C(3, 4, 3, padding=2, dilation=2), nn.GELU(), C(4, 4, 3, dilation=3)],
    "same": lambda: [C(3, 4, 5, padding="same"), nn.ELU(), C(4, 2, (3, 5), padding="same")],
    "leaps": lambda: [C(3, 4, 2, stride=3), nn.Hardswish(), C(4, 4, 1, stride=2)],
    "average": lambda: [nn.AvgPool2d(3, 2, 1), C(3, 3, 3)],
    "average ceil": lambda: [nn.AvgPool2d(3, 2, 1, ceil_mode=True), C(3, 3, 3)],
    "average inside": lambda: [
        *(C(3, 3, 3), nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), C(3, 3, 1)),
    ],
    "average divisor": lambda: [nn.AvgPool2d(3, 2, 1, divisor_override=5), C(3, 3, 3)],
    "max ceil": lambda: [C(3, 4, 3), nn.MaxPool2d(3, 2, 1, ceil_mode=True), C(4, 4, 3, padding=1)],
    "max dilated": lambda: [C(3, 4, 3), nn.MaxPool2d(2, 1, dilation=2), C(4, 4, 3)],
    "transposed": lambda: [C(3, 4, 3, 2), nn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1)],
    "transposed leaps": lambda: [nn.ConvTranspose2d(3, 4, 2, 3, 0, dilation=2), C(4, 3, 3)],
    "padded": lambda: [nn.ConstantPad2d((1, 2, 3, 0), 0.7), C(3, 3, 3), nn.PReLU(3)],
    "reflected": lambda: [C(3, 3, 3), nn.ReflectionPad2d(1), C(3, 3, 3)],
    "norms": lambda: [C(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), C(4, 4, 3)],
    "squeezed": lambda: [C(3, 4, 3), Squeezed(), C(4, 4, 3)],
    "mixed": lambda: [C(3, 4, 3), Mixed(), C(4, 4, 3)],
    "attention": lambda: [C(3, 4, 5, 3), Body(attention)(), C(4, 4, 3)],
    "softmaxed": lambda: [C(3, 4, 3), nn.Softmax(1), C(4, 4, 3)],
    "unet exact": lambda: [UNet("nearest-exact")],
    "reordered": lambda: [Body(lambda x: x[:, [2, 1, 0]])(), C(3, 4, 3), Body(picked)()],
    "rolled": lambda: [C(3, 4, 3), Body(lambda x: x.roll((1, -2), (3, 2)))(), C(4, 4, 3)],
}


def agree(model, x, **options) -> tuple[pl.Explanation, pl.Explanation]:
    """Ask for full passes, and for regions; they must agree."""
    target = options.pop("target", 1)
    batch = options.pop("batch_size", "auto")
    full = pl.Occlusion(incremental=False, **options)(model, x, target=target, batch_size=batch)
    found = pl.Occlusion(incremental=True, **options)(model, x, target=target, batch_size=batch)
    assert any(SAVED in note for note in found.notes), found.notes
    scale = full.values.abs().max()
    assert scale > 0
    assert_close(found.values / scale, full.values / scale, rtol=1e-9, atol=1e-9)
    return full, found


WINDOWS = [(2, 4), (5, 3), None, ((2, 3, 4), (1, 5, 2))]


@pytest.mark.parametrize(
    ("name", "window"),
    [(n, w) for i, n in enumerate(ZOO) for j, w in enumerate(WINDOWS) if (i + j) % 2 == 0],
)
def test_regions_have_the_scores_of_full_passes(name, window):
    """Every network with two kinds of windows of four, in turn."""
    options = {} if window is None else {"window": window[0], "stride": window[1]}
    agree(network(*ZOO[name]()), normal(2, 3, 17, 21, seed=4), **options)


PLAIN = {
    1: lambda: [nn.Conv1d(2, 3, 4, 2, 1), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(3, 3, 3)],
    2: lambda: [nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 3, 3)],
    3: lambda: [nn.Conv3d(2, 3, 3), nn.ReLU(), nn.AvgPool3d(2), nn.Conv3d(3, 3, 2)],
}


@pytest.mark.parametrize("axes", PLAIN)
def test_any_number_of_axes(axes):
    shape = (2, 40) if axes == 1 else (2, *[11] * axes)
    model = network(*PLAIN[axes](), shape=shape)
    agree(model, normal(2, *shape, seed=1), window=3, stride=2)


def test_mean_pooling_of_signals():
    layers = [
        nn.Conv1d(2, 3, 3),
        nn.AvgPool1d(3, 2, 1),
        nn.Upsample(scale_factor=2),
        nn.Conv1d(3, 3, 3),
    ]
    agree(network(*layers, shape=(2, 33)), normal(2, 2, 33, seed=1), window=4, stride=3)


@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
    kind=st.sampled_from(["conv", "max", "mean", "transposed"]),
    window=st.integers(1, 9),
    step=st.integers(1, 6),
    size=st.tuples(st.integers(9, 20), st.integers(9, 20)),
)
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
def test_any_kernel_window_and_size(kernel, stride, padding, dilation, kind, window, step, size):
    torch.manual_seed(0)
    reach = [dilation * (k - 1) + 1 for k in kernel]
    if kind == "conv":
        layer = nn.Conv2d(3, 3, kernel, stride, padding, dilation)
    elif kind == "transposed":
        layer = nn.ConvTranspose2d(
            3, 3, kernel, stride, min(padding, min(reach) - 1), 0, 1, True, dilation
        )
    elif kind == "max":
        pad = min(padding, min(kernel) // 2)
        layer = nn.MaxPool2d(kernel, stride, pad, dilation, ceil_mode=padding > 1)
    else:
        reach = list(kernel)
        pad = min(padding, min(kernel) // 2)
        layer = nn.AvgPool2d(kernel, stride, pad, padding > 1, count_include_pad=step % 2 == 0)
    assume(all(n >= r for n, r in zip(size, reach, strict=True)))
    shape = (3, *size)
    model = network(
        nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(True), layer, nn.Conv2d(3, 2, 1), shape=shape
    )
    agree(model, normal(1, *shape, seed=2), window=window, stride=step)


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_the_batch_size_does_not_matter(batch_size):
    model, x = network(*ZOO["resnet"]()), normal(3, 3, 17, 21, seed=4)
    one, _ = agree(model, x, window=3, stride=3, batch_size=batch_size)
    two, _ = agree(model, x, window=3, stride=3, target=[1, 1, 1])
    assert_close(one.values, two.values)


def test_the_model_runs_once_and_once_more_to_check():
    model = Counting(network(*ZOO["vgg"]()))
    found = pl.Occlusion(window=3, stride=2, incremental=True)(model, normal(2, 3, 17, 21))
    assert model.calls == [2, 8]  # three windows of each sample, and all of it
    assert found.evaluations.forward == 10
    assert found.evaluations.calls == 2


class Softmax(nn.Module):
    """Two outputs, one of them a softmax over classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network(*ZOO["vgg"]())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """A dict."""
        scores = self.body(x)
        return {
            "p": scores.softmax(1),
            "size": scores.norm(dim=1, keepdim=True),
            "one": torch.ones(1),
        }


@pytest.mark.parametrize(
    "target",
    [("p", 1), pl.Target.path("size", target=0), lambda out: out["p"][:, 0] - out["size"][:, 0],
     pl.Target.unit("body.0.3", (1, 4, 5))],
    ids=["softmax", "norm", "function", "unit"],
)  # fmt: skip
def test_any_target(target):
    full, found = agree(Softmax(), normal(2, 3, 17, 21), window=4, stride=3, target=target)
    assert_close(found.score, full.score)
    assert found.target == full.target
    assert ("softmax" in str(found.notes)) == (target == ("p", 1))


def test_a_constant_as_long_as_the_batch_is_not_taken_for_its_samples():
    class Weighed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.weights = network(C(3, 4, 3)), torch.tensor([1.0, -2.0]).double()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.body(x), self.weights

    def target(out: tuple[Tensor, Tensor]) -> Tensor:
        return (out[0] * out[1]).sum(1)

    model, ask = Weighed(), {"window": 4, "stride": 3}
    agree(model, normal(3, 3, 17, 21), target=target, **ask)
    full = pl.Occlusion(incremental=False, **ask)(model, normal(2, 3, 17, 21), target=target)
    found = pl.Occlusion(incremental=True, **ask)(model, normal(2, 3, 17, 21), target=target)
    assert_close(found.values, full.values)
    assert any("reads a constant of the output" in note for note in found.notes)


def test_a_map_of_classes_is_explained_at_a_place():
    model = nn.Sequential(C(3, 4, 3, padding=1), nn.ReLU(), C(4, 2, 3, padding=1)).double()
    agree(model, normal(2, 3, 12, 13), window=3, stride=2, target=pl.Target.region(1, (5, 6)))


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.signal = C(2, 3, 3), nn.Conv1d(2, 3, 3)

        def forward(self, image: Tensor, signal: Tensor, row: Tensor) -> Tensor:
            gate = self.signal(signal).tanh().mean(2)
            return (self.image(image).relu() * gate[:, :, None, None]).mean((2, 3)) + row

    model = Two().double()
    x = (normal(2, 2, 8, 9), normal(2, 2, 11), normal(2, 3))
    full = pl.Occlusion(window=3, incremental=False)(model, x, target=1)
    found = pl.Occlusion(window=3, incremental=True)(model, x, target=1)
    for one, other in zip(found.values, full.values, strict=True):
        assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert found.evaluations.forward < full.evaluations.forward


def off(values: Tensor, exact: Tensor) -> float:
    """How far values are from exact ones, in the mean square, of the largest of these."""
    return float((values.double() - exact).square().mean().sqrt() / exact.abs().max())


def rounding(name: str) -> tuple[float, float]:
    """In single precision, how far regions and full passes are from double precision."""
    model, x = network(*ZOO[name]()).float(), normal(4, 3, 17, 21, seed=4).float()
    ask = {"window": 4, "stride": 4}
    double = deepcopy(model).double(), x.double()
    exact = pl.Occlusion(**ask, incremental=False)(*double, target=1).values
    found = pl.Occlusion(**ask, incremental=True)(model, x, target=1)
    assert any(SAVED in note for note in found.notes), found.notes
    full = pl.Occlusion(**ask, incremental=False)(model, x, target=1)
    return off(found.values, exact), off(full.values, exact)


@pytest.mark.parametrize("name", list(ZOO)[::2])
def test_in_single_precision_regions_are_as_exact_as_full_passes(name):
    regions, full = rounding(name)
    assert regions < max(2 * full, 1e-7)
    assert full > 0


def test_that_regions_are_as_exact_can_fail(monkeypatch):
    exact = Tables.of

    def rounded(self, value, rank):
        return exact(self, value, rank).bfloat16().float()

    monkeypatch.setattr(Tables, "of", rounded)
    monkeypatch.setattr(Cells, "agree", lambda *_: True)
    regions, full = rounding("vgg")
    assert regions > 10 * full


def test_single_precision_agrees_to_rounding():
    model, x = network(*ZOO["resnet"]()).float(), normal(2, 3, 17, 21).float()
    full = pl.Occlusion(window=3, stride=2, incremental=False)(model, x, target=1)
    found = pl.Occlusion(window=3, stride=2, incremental=True)(model, x, target=1)
    assert any(SAVED in note for note in found.notes)
    assert_close(found.values, full.values, rtol=1e-5, atol=1e-5 * float(full.score.abs().max()))
    last = x.contiguous(memory_format=torch.channels_last)
    again = pl.Occlusion(window=3, stride=2, incremental=True)(model, last, target=1)
    assert_close(again.values, found.values, rtol=1e-4, atol=1e-6)


def test_methods_that_are_compared_share_the_run():
    model, x = Counting(network(*ZOO["vgg"]())), normal(2, 3, 17, 21)
    method = pl.Occlusion(window=3, stride=2, incremental=True)
    found = pl.compare(model, x, ["lrp", method], target=1)[1]
    assert model.calls == [2, 8]
    assert_close(found.values, method(model, x, target=1).values)


def by_value(x: Tensor) -> Tensor:
    return x * 2 if float(x.sum()) > 0 else x


def of_the_batch(x: Tensor) -> Tensor:
    return x - x.mean(0, keepdim=True)


REFUSED = {
    "a branch": (by_value, "`_local_scalar_dense` in `0.1` may treat samples together"),
    "the batch": (of_the_batch, "`mean` in `0.1` may treat samples together"),
    "a random mask": (lambda x: F.dropout(x, 0.5, True), "may treat samples together"),
    "numpy": (
        lambda x: torch.from_numpy(x.detach().numpy() * 2),
        "no recorded operation leads from",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_takes_full_passes_and_says_why(name):
    function, why = REFUSED[name]
    model = network(C(3, 3, 3, padding=1), Body(function)(), C(3, 3, 3), shape=(3, 9, 9))
    x = normal(2, 3, 9, 9)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = pl.Occlusion(window=3, stride=2, incremental=True)(model, x, target=1)
    assert any(
        note.startswith("Each window took a full pass: ") and why in note for note in found.notes
    )
    if name != "a random mask":
        full = pl.Occlusion(window=3, stride=2, incremental=False)(model, x, target=1)
        assert_close(found.values, full.values)


class Beside(nn.Module):
    """Looks at a few pixels on a way that no recording shows."""

    def __init__(self, way: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.way = network(C(3, 4, 3)), way

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (batch, 2)."""
        return self.body(x) + 0.02 * self.way(x[:, :, 6:8, 9:12])[:, None]


def in_a_thread(x: Tensor) -> Tensor:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: x.mean((1, 2, 3))).result()


WAYS = {
    "numpy": lambda x: torch.from_numpy(x.detach().numpy().mean((1, 2, 3))),
    "lists": lambda x: torch.tensor([row[0][0][0] for row in x.tolist()]),
    "a thread": in_a_thread,
}


@pytest.mark.parametrize("name", WAYS)
def test_a_way_beside_the_recorded_run_is_felt_without_all_of_the_input(name, monkeypatch):
    model, x = Beside(WAYS[name]).double(), normal(2, 3, 17, 21, seed=4)
    ask = {"window": 2, "stride": 3}
    found = pl.Occlusion(incremental=True, **ask)(model, x, target=1)
    full = pl.Occlusion(incremental=False, **ask)(model, x, target=1)
    assert "Each window took a full pass: those of regions gave other scores." in found.notes
    assert_close(found.values, full.values)
    monkeypatch.setattr(Cells, "agree", lambda *given: True)
    wrong = pl.Occlusion(incremental=True, **ask)(model, x, target=1)
    assert (wrong.values - full.values).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("options", "x", "why"),
    [
        ({}, torch.ones(2, 4), "no input has maps"),
        ({}, numpy.ones((2, 4)), "no input has maps"),
        ({"window": 3}, (normal(2, 3, 5, 7), torch.tensor([[1, 0], [2, 2]])), "are embedded"),
    ],
)
def test_what_is_asked_for_in_vain_is_said(options, x, why):
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.words = C(3, 2, 3).double(), nn.Embedding(3, 2).double()

        def forward(self, image: Tensor, ids: Tensor) -> Tensor:
            return self.image(image).mean((2, 3)) + self.words(ids).mean(1)

    model = Both() if isinstance(x, tuple) else nn.Linear(4, 2)
    model = model if not isinstance(x, numpy.ndarray) else lambda rows: rows @ numpy.ones((4, 2))
    found = pl.Occlusion(incremental=True, **options)(model, x, target=1)
    assert any(f"full pass: {why}" in note or why in note for note in found.notes)


def test_by_itself_it_leaves_out_what_saves_nothing():
    early = network(C(3, 4, 3), Squeezed(), *[C(4, 4, 3, padding=1) for _ in range(6)])
    x = normal(1, 3, 17, 21)
    found = pl.Occlusion(window=3, stride=2)(early, x, target=1)
    assert found.notes == ("Each window took a full pass: `mean` in `0.1` reads whole maps.",)
    small = pl.Occlusion(window=3, stride=2)(network(C(3, 4, 3)), x, target=1)
    assert small.notes == ()
    function = pl.Occlusion(window=3, stride=2)(lambda x: early(x), x, target=1)
    assert function.notes == (
        "Each window took a full pass: the model is a function, which is not recorded.",
    )
    assert pl.Occlusion()(lambda x: x.sum(1, keepdim=True), torch.ones(2, 3)).notes == ()


def test_by_itself_it_saves_where_there_is_much_to_save():
    wide = network(*[C(3 if n == 0 else 24, 24, 3, padding=1) for n in range(3)], shape=(3, 96, 96))
    x = normal(1, 3, 96, 96)
    found = pl.Occlusion(window=8, stride=12)(wide, x, target=1)
    assert any(SAVED in note for note in found.notes)
    few = pl.Occlusion(window=8, stride=88)(wide, x, target=1)  # as many as are checked
    assert few.notes == ("The windows leave gaps; elements that no window covers get zero.",)
    share = int(found.notes[0].partition(": ")[2].partition("%")[0])
    assert share == round(100 * ((10**2 * 3 + 12**2 * 24 + 14**2 * 24) / (96**2 * 51)))


def mutant_halo(self, given, shape):
    """One element short before the box."""
    found = MUTATED["felt"](self, given, shape)
    return boxes.Boxes((found.starts + 1).clamp(max=10**6), found.size, found.shape)


MUTATED = {"felt": boxes.Sliding.felt}


@pytest.mark.parametrize("mutant", ["halo", "fill", "stale"])
def test_mutants_are_noticed(mutant, monkeypatch):
    """By the comparison with full passes, and by the method itself, which then takes those."""
    if mutant == "halo":
        monkeypatch.setattr(boxes.Sliding, "felt", mutant_halo)
    if mutant == "fill":
        made = sliding.convolution

        def wrong(*given):
            rule = made(*given)
            return (
                rule
                if rule is None
                else type(rule)(rule.operation, rule.sliding, rule.compute, 0.5)
            )

        monkeypatch.setattr("pellucid.perturb.incremental.rules.convolution", wrong)
    if mutant == "stale":
        monkeypatch.setattr("pellucid.perturb.incremental.run.paste", lambda *given: None)
    model, x = network(*ZOO["vgg"]()), normal(1, 3, 17, 21)
    found = pl.Occlusion(window=3, stride=2, incremental=True)(model, x, target=1)
    full = pl.Occlusion(window=3, stride=2, incremental=False)(model, x, target=1)
    assert "Each window took a full pass: those of regions gave other scores." in found.notes
    assert_close(found.values, full.values)
    with pytest.raises(AssertionError):
        agree(model, x, window=3, stride=2)
