"""Boxes that are found from the sizes of windows are those that are walked back unit by unit."""

import itertools
import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pellucid as pl
from pellucid.dispatch import DispatchMode
from pellucid.inspect import receptive_axes
from pellucid.inspect.receptive import Run, boxes_around, unit_boxes
from pellucid.structure import Inputs, leaves


class Steps(nn.Module):
    """What some functions make of x, one after the other, each with a layer of its own."""

    def __init__(self, steps: list[tuple[Callable, nn.Module]]) -> None:
        super().__init__()
        self.functions = [function for function, _ in steps]
        self.layers = nn.ModuleList([layer for _, layer in steps])
        self.out = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for function, layer in zip(self.functions, self.layers, strict=True):
            x = function(x, layer)
        return self.out(x)


HOW: dict[str, Callable[[Tensor, nn.Module], Tensor]] = {
    "one after the other": lambda x, layer: layer(x),
    "residual": lambda x, layer: F.silu(x + layer(x)),
    "side by side": lambda x, layer: torch.cat([x, layer(x)], 1),
    "excited": lambda x, layer: x * layer(x.mean((2, 3), keepdim=True)).sigmoid(),
}


def drawn(seed: int) -> Steps:
    """A random network of two channels, with exact zeros in some of the weights."""
    choose, steps, channels = random.Random(seed), [], 2
    torch.manual_seed(seed)
    for _ in range(choose.randint(1, 4)):
        size, stride, dilation = (choose.choice(each) for each in ([1, 2, 3, 5], [1, 2], [1, 2]))
        before = choose.randint(0, size // 2)
        layer, more = choose.choice([
            (nn.Conv2d(channels, 3, size, stride, before, dilation), 3),
            (nn.Conv2d(channels, 2, (size, 1), (stride, 1), (before, 0)), 2),
            (nn.Conv2d(channels, channels, size, stride, before, groups=channels), channels),
            (nn.MaxPool2d(size, stride, before, dilation, ceil_mode=choose.random() < 0.5), None),
            (nn.AvgPool2d(size, stride, before, ceil_mode=choose.random() < 0.5), None),
            (nn.Sequential(nn.BatchNorm2d(channels), nn.Hardswish()), None),
            (nn.ZeroPad2d((choose.randint(-1, 2), choose.randint(0, 2), 1, 0)), None),
        ])  # fmt: skip
        how = "one after the other"
        if choose.random() < 0.4:
            how, size = choose.choice([*HOW][1:]), choose.choice([1, 3])
            layer = nn.Conv2d(channels, channels, size, padding=size // 2)
            more = 2 * channels if how == "side by side" else channels
        steps.append((HOW[how], layer))
        channels = more or channels
    net = Steps(steps).eval()
    for weight in net.parameters():
        weight.data *= torch.rand_like(weight) > 0.1
    return net


def counts(seeds: range) -> tuple[int, int, int]:
    """Boxes that differ, boxes that were known from windows, and networks of which none were."""
    wrong = known = unknown = 0
    for seed in seeds:
        net, x = drawn(seed), torch.zeros(1, 2, 10, 9)
        with torch.no_grad():
            run = Run.of(net, Inputs.of(x), "out")
            fields = run.fields(1)
        if fields is None:
            unknown += 1
            continue
        shape = run.value.shape
        places = [*itertools.product(*map(range, shape[2:]))][::3]
        for channel in fields.full.nonzero().flatten().tolist()[:2]:
            with torch.no_grad():
                walked = boxes_around(run.spatial_masks(1, [(channel, place) for place in places]))
            wrong += int((fields.boxes(places) != walked).any((1, 2)).sum())
            known += len(places)
    return wrong, known, unknown


def test_boxes_from_windows_are_those_of_single_units():
    wrong, known, unknown = counts(range(24))
    assert wrong == 0
    assert known > 400
    assert unknown < 8


MUTANTS = {
    "windows that are not cut at the borders": (
        receptive_axes.Window, "read",
        lambda self, outputs, inputs: torch.arange(inputs).expand(outputs, -1),
    ),
    "fields that are those of the first way alone": (
        receptive_axes, "_joined", lambda fields: fields[0].lines,
    ),
    "channels that see less than others": (
        receptive_axes.Fields, "that_fill", lambda self, lines: self.full,
    ),
    "zeros that do not count": (
        receptive_axes, "_convolved", lambda operation, fields: receptive_axes._windowed(
            operation, receptive_axes.replace(
                fields, full=torch.ones(operation.slots[1].shape[0], dtype=torch.bool)
            ), operation.slots[1].shape[2:], *map(operation.argument, (3, 4, 5)),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_boxes_are_found(name, monkeypatch):
    monkeypatch.setattr(*MUTANTS[name])
    assert counts(range(24))[0]


def test_a_field_without_borders_is_that_in_a_larger_input():
    compared = 0
    for seed in range(24):
        net, x = drawn(seed), torch.zeros(1, 2, 10, 9)
        middle = tuple(n // 2 for n in net(x).shape[2:])
        whole = unit_boxes(net, Inputs.of(x), "out", [(0, middle)]).whole
        if whole is not None and max(whole) < 30:
            assert pl.inspect.receptive_field(net, torch.zeros(1, 2, 90, 90), "out").size == whole
            compared += 1
    assert compared > 10


TURNED = {
    "transposed": lambda x: x + x.transpose(2, 3),
    "turned": lambda x: x + torch.rot90(x, 1, (2, 3)),
    "stopped": lambda x: x * (x > 0),
    "chosen": lambda x: torch.where(torch.arange(36).view(6, 6) % 2 == 0, x, 2 * x),
    "of the batch": lambda x: F.batch_norm(x, None, None, training=True),
    "moved apart": lambda x: F.pad(x, (1, -1)) + F.pad(x, (0, 0, 1, -1)),
}


def walked_differ(name: str) -> bool:
    """Whether any box is not that of its unit alone."""
    torch.manual_seed(0)
    net = Steps([(lambda x, layer: layer(TURNED[name](x)), nn.Conv2d(2, 3, 1))]).eval()
    places = [*itertools.product(range(6), range(6))]
    x = torch.rand(1, 2, 6, 6)
    found = unit_boxes(net, Inputs.of(x), "out", [(0, place) for place in places])
    run = Run.of(net, Inputs.of(x), "out")
    each = boxes_around(run.spatial_masks(1, [(0, place) for place in places]))
    return found.whole is not None or not torch.equal(found.boxes, each)


@pytest.mark.parametrize("name", TURNED)
def test_what_windows_do_not_tell_is_walked_unit_by_unit(name):
    assert not walked_differ(name)


def test_ways_that_see_nothing_at_other_places_are_told_apart(monkeypatch):
    def hulls(fields: list) -> tuple:
        ways = zip(*(each.lines for each in fields), strict=True)
        return tuple(itertools.starmap(receptive_axes._hull, ways))

    monkeypatch.setattr(receptive_axes, "_joined", hulls)
    assert walked_differ("moved apart")


KNOWN: dict[str, tuple[Callable, tuple[int, int]]] = {
    "a cross": (lambda x, a, b: a(x) + b(x), (3, 3)),
    "a scale": (lambda x, a, b: torch.full((1,), 2.0) * a(x), (1, 3)),
    "more axes in between": (
        lambda x, a, b: (torch.ones(2, 1, 1, 1, 1) * a(x)).sum(0), (1, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_what_an_operation_joins_is_found(name):
    run, size = KNOWN[name]
    torch.manual_seed(0)
    a, b = nn.Conv2d(1, 2, (1, 3), padding=(0, 1)), nn.Conv2d(1, 2, (3, 1), padding=(1, 0))
    net = Steps([(lambda x, layer: run(x, *layer), nn.ModuleList([a, b]))]).eval()
    found = unit_boxes(net, Inputs.of(torch.rand(1, 1, 9, 9)), "out", [(0, (4, 4))])
    box = pl.inspect.receptive_field(net, torch.rand(1, 1, 9, 9), "out", (4, 4), channel=0).box
    assert found.boxes.tolist() == [[list(ends) for ends in box]]
    assert found.whole == (None if name == "more axes in between" else size)


def test_a_long_chain_is_looked_through_once():
    """If what reads one value twice doubled the work each time, this would not end."""

    def chain(x: Tensor, layer: nn.Module) -> Tensor:
        for _ in range(60):
            x = torch.where(x > 0, x, x).sigmoid()
        return x

    net = Steps([(chain, nn.Identity())])
    found = unit_boxes(net, Inputs.of(torch.rand(1, 1, 3, 3)), "out", [(0, (1, 1))])
    assert found.boxes.tolist() == [[[1, 2], [1, 2]]]


class Elements(DispatchMode):
    """Counts the elements of all results, and those of the largest."""

    count = largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [each.numel() for _, each in leaves(result)]
        self.count, self.largest = self.count + sum(sizes), max(self.largest, *sizes, 0)
        return result


def test_fields_of_all_units_cost_a_few_passes():
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(32, 32, 3, padding=1) for _ in range(6)]
    net = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), *convolutions).eval()
    x, every = torch.rand(1, 3, 64, 64), [*itertools.product(range(8), range(32), range(32))]
    with torch.no_grad(), Elements() as plain:
        net(x)
    with Elements() as found:
        unit_boxes(net, Inputs.of(x), "6", [(c, (row, column)) for c, row, column in every[::7]])
    assert found.count < 4 * plain.count  # a walk for each row and column takes 60 times as much


def test_fields_in_a_long_series_take_little_memory():
    net = nn.Sequential(nn.Conv1d(1, 4, 20, 4), nn.MaxPool1d(4), nn.Conv1d(4, 4, 3)).eval()
    x = torch.rand(1, 1, 8000)
    with Elements() as found:
        boxes = unit_boxes(net, Inputs.of(x), "2", [(0, (5,)), (3, (100,))], 1).boxes
    assert boxes.tolist() == [[[80, 144]], [[1600, 1664]]]
    assert found.largest < 10 * x.numel()  # what each place sees of each takes 500 times as much
