"""The receptive field is the support of the gradient, whatever the program."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import InputError, TargetError, UnknownNameError
from pellucid.inspect import receptive_walk
from pellucid.inspect.receptive import boxes_around, unit_boxes
from pellucid.structure import Inputs
from tests.zoo.network import Lambda, normal, seeded


def conv(*sizes: int, seed: int = 0, **options: object) -> nn.Module:
    return seeded(nn.Conv2d(*sizes, **options), seed)


def net(run: object, **layers: nn.Module) -> nn.Module:
    """A program that ends in a layer called `out`, which changes nothing."""
    return Lambda(lambda net, *x: net(run_all(run, net, *x)), net=Parts(**layers)).eval()


class Parts(nn.Module):
    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.out = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x)


def run_all(run: object, net: nn.Module, *x: Tensor) -> Tensor:
    return run(net, *x)


A, B = conv(2, 3, 3), conv(3, 3, 2, seed=1)
NETS = {
    "stride, padding, dilation": (
        lambda m, x: m.b(F.relu(m.a(x))),
        {"a": conv(2, 3, 3, stride=2, padding=1), "b": conv(3, 3, 3, seed=1, dilation=2)},
        (13, 11),
    ),
    "max-pooling": (
        lambda m, x: m.b(F.max_pool2d(F.relu_(m.a(x)), 3, 2, 1, ceil_mode=True)),
        {"a": A, "b": B},
        (10, 9),
    ),
    "mean and upsampling": (
        lambda m, x: F.interpolate(F.avg_pool2d(F.gelu(m.a(x)), 2), scale_factor=2),
        {"a": A},
        (10, 8),
    ),
    "residual": (
        lambda m, x: F.relu(m.a(x) + x),
        {"a": conv(2, 2, 3, padding=3, dilation=3)},
        (9, 7),
    ),
    "branches": (
        lambda m, x: torch.cat([m.a(x), m.b(x)], 1),
        {"a": conv(2, 2, 1), "b": conv(2, 2, 3, padding=1)},
        (7, 7),
    ),
    "groups": (lambda m, x: m.a(x), {"a": conv(2, 4, 3, groups=2)}, (6, 6)),
    "transposed": (
        lambda m, x: m.a(x),
        {"a": seeded(nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1))},
        (4, 5),
    ),
    "squeeze and excite": (lambda m, x: x * x.mean((2, 3), keepdim=True).sigmoid(), {}, (4, 5)),
    "groups of a norm": (
        lambda m, x: m.n(m.a(x)),
        {"a": conv(2, 4, 3), "n": nn.GroupNorm(2, 4).double()},
        (6, 5),
    ),
    "masked filter": (lambda m, x: F.conv2d(x, MASKED), {}, (6, 6)),
    "a slice, written in place": (
        lambda m, x: m.a(x[:, :, 2:9]).roll(1, 2).add_(1).clamp_(-9, 9),
        {"a": A},
        (10, 5),
    ),
    "global": (lambda m, x: m.a(x.flatten(1)), {"a": seeded(nn.Linear(24, 3))}, (3, 4)),
    "wrapped around": (  # which is written in place, part by part
        lambda m, x: m.a(x),
        {"a": conv(2, 2, 3, padding=1, padding_mode="circular")},
        (5, 4),
    ),
    "a silent channel": (lambda m, x: m.a(x) * SILENT, {"a": A}, (5, 5)),
}
SILENT = torch.tensor([0.0, 1, 1]).double().view(1, 3, 1, 1)
MASKED = normal(2, 2, 3, 3, seed=5) * (torch.arange(9).reshape(3, 3) < 4)


def support(program: nn.Module, shape: tuple[int, ...], index: tuple, tries: int = 40) -> Tensor:
    """Where autograd's gradient of a unit is not zero, for any of many inputs."""
    found = torch.zeros(shape, dtype=torch.bool)
    x = 2 * normal(tries, *shape, seed=7)
    x.requires_grad_()
    unit = program(x)[(slice(None), *index)]
    (grad,) = torch.autograd.grad(unit.sum(), x)
    return found | (grad != 0).any(0)


def units(name: str) -> list[tuple[int | None, tuple[int, ...]]]:
    """A corner, the middle and another place, of any and of the first channel."""
    run, layers, space = NETS[name]
    shape = net(run, **layers)(normal(1, 2, *space)).shape[2:]
    places = {tuple(0 for _ in shape), tuple(n // 2 for n in shape), tuple(n - 2 for n in shape)}
    return list(itertools.product((None, 0), sorted(places)))


def differs(name: str) -> bool:
    run, layers, space = NETS[name]
    program, x = net(run, **layers), normal(1, 2, *space)
    for channel, place in units(name):
        found = pl.inspect.receptive_field(program, x, "layers.net.out", place, channel=channel)
        index = (slice(None) if channel is None else channel, *place)
        if not torch.equal(found.mask, support(program, (2, *space), index)):
            return True
    return False


@pytest.mark.parametrize("name", NETS)
def test_it_is_the_support_of_the_gradient(name):
    assert not differs(name)


def test_a_wrong_field_is_found(monkeypatch):
    """Mutants: windows of the winner alone, dense filters where masked, sums that do not join."""
    none = receptive_walk.windows
    monkeypatch.setattr(receptive_walk, "windows", lambda op, s: none(op, s).roll(1, -1))
    assert differs("max-pooling")
    monkeypatch.undo()
    monkeypatch.setattr(receptive_walk, "_convolved", lambda op, s: s.new_ones(
        len(s), *op.slots[0].shape
    ))  # fmt: skip
    assert differs("masked filter")
    monkeypatch.undo()
    monkeypatch.setattr(receptive_walk, "STRIDED", set())
    assert differs("wrapped around")


@pytest.mark.parametrize(
    "name", ["max-pooling", "branches", "transposed", "global", "masked filter", "a silent channel"]
)
def test_boxes_of_all_units_are_those_of_single_units(name):
    run, layers, space = NETS[name]
    program, x = net(run, **layers), normal(1, 2, *space)
    shape = program(x).shape
    every = list(itertools.product(range(shape[1]), itertools.product(*map(range, shape[2:]))))
    found = unit_boxes(program, Inputs.of(x), "layers.net.out", every).boxes
    for (channel, place), box in list(zip(every, found.tolist(), strict=True))[::5]:
        one = pl.inspect.receptive_field(program, x, "layers.net.out", place, channel=channel)
        assert one.box == tuple(map(tuple, box))
        assert one.cut(x).shape[2:] == one.size


def test_a_causal_attention_sees_what_is_before_it():
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.MultiheadAttention(4, 2, batch_first=True)
            self.embed = nn.Embedding(9, 4)

        def forward(self, ids: Tensor) -> Tensor:
            x = self.embed(ids)
            mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
            return self.mix(x, x, x, attn_mask=mask, need_weights=False)[0]

    torch.manual_seed(0)
    ids = torch.randint(0, 9, (1, 6))
    found = pl.inspect.receptive_field(Causal().eval(), ids, "mix", 3, axis=2)
    assert found.mask.tolist() == [True] * 4 + [False] * 2
    assert found.box == ((0, 4),)


class Steps(nn.Module):
    """A recurrent layer, over steps of features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read = nn.LSTM(2, 3, batch_first=True).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.read(x)[0]


def test_a_series_is_seen_step_by_step():
    x = normal(1, 4, 2)
    for step in range(4):
        found = pl.inspect.receptive_field(Steps(), x, "read", step, axis=2)
        assert torch.equal(found.mask, support(Steps(), (4, 2), (step,)))
        assert (found.box, found.axis) == (((0, step + 1),), 1)
        assert found.cut(x).shape == (1, step + 1, 2)


LAYOUTS = {  # a program around a convolution, the shape of its input, and where channels are there
    "no channels": (lambda net, x: net.a(x.unsqueeze(1)), conv(1, 3, 3), (9, 8), None, None),
    "channels last": (lambda net, x: net.a(x.permute(0, 3, 1, 2)), A, (9, 8, 2), None, 2),
    "a series": (
        lambda net, x: net.a(F.relu(x).transpose(1, 2)), seeded(nn.Conv1d(2, 3, 3)), (9, 2), 1, 1,
    ),
    "channels last inside": (
        lambda net, x: F.layer_norm(net.a(x).permute(0, 2, 3, 1), (3,)), A, (2, 9, 8), 3, 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_channels_are_where_a_convolution_reads_them(name):
    run, layer, shape, axis, where = LAYOUTS[name]
    program, x = net(run, a=layer), normal(4, *shape)
    found = pl.inspect.receptive_field(program, x, "layers.net.out", axis=axis)
    assert (found.axis, set(found.size)) == (where, {3})
    own = list(shape)
    for place in [i for i in range(len(shape)) if i != where]:
        own[place] = 3
    assert list(found.cut(x).shape[1:]) == own
    options = {"by": "activation", "k": 3, "patches": True, "axis": axis}
    (top,) = pl.inspect.top_examples(program, x, "layers.net.out", 1, **options)
    for row, place, patch, drawn in zip(
        top.index, top.place, top.patches, top.reconstructions, strict=True
    ):
        one = pl.inspect.receptive_field(program, x, "layers.net.out", place, axis=axis)
        assert torch.equal(patch, one.cut(x)[row])
        assert list(drawn.shape) == own
    assert len(top.plot().axes) >= 3
    pattern = pl.inspect.filters(program, "layers.net.a", x).patterns
    assert torch.allclose(pattern, layer.weight, atol=1e-12)
    if len(top.box[0]) == 2:
        assert found.plot().patches


def test_what_is_seen_of_several_inputs():
    net = Lambda(lambda net, a, b: net.read(b)[0] + 0 * a, net=Steps())
    pair = (normal(1, 4, 3), normal(1, 4, 2))
    found = pl.inspect.receptive_field(net, pair, "layers.net.read", 1, axis=2)
    assert [int(each.sum()) for each in found.masks] == [0, 4]
    assert not found.is_cut
    with pytest.raises(InputError, match="must see something of the first input.*lambda b, a"):
        unit_boxes(net, Inputs.of(pair), "layers.net.read", [(0, (1,))], 2)


def test_what_it_says():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3, stride=2))
    found = pl.inspect.receptive_field(net, torch.zeros(3, 1, 12, 12), "1", (1, 2))
    assert (found.size, found.box, found.is_cut) == ((5, 5), ((2, 7), (4, 9)), False)
    assert pl.inspect.receptive_field(net, torch.zeros(1, 1, 12, 12), "1", (0, 0)).is_cut
    assert pl.inspect.receptive_field(net, torch.zeros(1, 1, 12, 12), "convolution:0").size == (
        3,
        3,
    )
    assert "5 x 5, [2:7, 4:9]" in repr(found)
    ax = found.plot()
    assert ax.patches[0].get_width() == 5
    assert boxes_around(torch.zeros(1, 4, 4, dtype=torch.bool)).tolist() == [[[0, 0], [0, 0]]]


def test_nothing_is_left_behind():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softmax(1))
    torch.manual_seed(1)
    pl.inspect.receptive_field(net, torch.zeros(1, 1, 5, 5), "1")
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))
    assert not any(each._forward_hooks for each in net.modules())


NONE = {
    "layer": ({"layer": "3"}, UnknownNameError, "A layer must be one that exists; got '3'"),
    "place": ({"position": (9, 0)}, InputError, r"`position` must be a place among the \[4, 4\]"),
    "axes": ({"position": 1}, InputError, r"of `0`, one number an axis; got 1"),
    "channel": ({"channel": 2}, TargetError, "A channel of the layer must be from 0 to 1; got 2"),
}


@pytest.mark.parametrize("name", NONE)
def test_what_has_no_field(name):
    changed, error, message = NONE[name]
    options = {"layer": "0"} | changed
    with pytest.raises(error, match=message):
        pl.inspect.receptive_field(
            nn.Sequential(nn.Conv2d(1, 2, 3)), torch.zeros(1, 1, 6, 6), **options
        )
