"""What is followed backwards at once is bounded by what a model makes of it on the way."""

import importlib

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid import Target
from pellucid.inspect import room
from tests.counting import Counting
from tests.zoo.network import normal, seeded

MODULES = [
    importlib.import_module(f"pellucid.inspect.{name}") for name in ("room", "dream.dreaming")
]


def net(layers: int = 2) -> nn.Module:
    more = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh()) for _ in range(layers)]
    return seeded(nn.Sequential(*more, nn.Flatten(), nn.Linear(300, 2))).double().eval()


DATA = normal(9, 3, 10, 10, seed=2)


def small(monkeypatch: pytest.MonkeyPatch, samples: float, layers: int = 2) -> None:
    """As if so many samples of the net had room."""
    for module in MODULES:
        monkeypatch.setattr(module, "SMALL", 0)
    model = net(layers)
    x = DATA[:1].clone().requires_grad_()
    one = room.kept(lambda: model(x), room.memory_of(model))
    monkeypatch.setattr(room, "BYTES", int(samples * one))


def test_what_is_kept_is_counted_by_hand():
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh()).double()
    x = torch.ones(1, 3).double().requires_grad_()
    known = room.memory_of(model)
    assert room.kept(lambda: model(x), known) == 8 * (3 + 5 + 4)
    weights = 8 * (3 * 5 + 5 * 4)
    assert 0 <= room.kept(lambda: model(x)) - 8 * (3 + 5 + 4) <= weights
    frozen = model.requires_grad_(False)
    assert room.kept(lambda: frozen(x), known) == 8 * (5 + 4)  # no weight has a gradient
    with torch.inference_mode():
        assert room.kept(lambda: frozen(x), known) == 8 * (5 + 4)


def test_it_grows_with_the_samples_and_the_layers():
    x = DATA.clone().requires_grad_()

    def of(model: nn.Module, rows: int) -> int:
        return room.kept(lambda: model(x[:rows].clone()), room.memory_of(model))

    few, many = net(), net(8)
    # Of each block what it reads, its result before the Tanh or after it: the same is kept once.
    assert of(few, 9) == 9 * of(few, 1)
    assert of(many, 1) - of(few, 1) >= 6 * 8 * 300


@pytest.mark.parametrize(("samples", "most"), [(0.1, 1), (2.5, 2), (4.5, 4), (100, 6)])
def test_dreams_climb_so_many_at_a_time(samples, most, monkeypatch):
    whole = pl.inspect.dream(net(), [0, 1, 0, 1, 0, 1], shape=(3, 10, 10), steps=3, start="noise")
    small(monkeypatch, samples)
    model = Counting(net())
    found = pl.inspect.dream(model, [0, 1, 0, 1, 0, 1], shape=(3, 10, 10), steps=3, start="noise")
    assert max(model.calls) == most
    assert_close(found.inputs, whole.inputs)
    assert found.evaluations == (sum(model.calls), 18, len(model.calls))


def test_dreams_of_a_layer_need_what_comes_before_it_alone(monkeypatch):
    """And as many units are looked for at a time as climb."""
    small(monkeypatch, 1.5, layers=8)
    units = [Target.unit("model.0", channel) for channel in (0, 1, 2, 0, 1, 2)]
    most = {}
    for name, aims in (("short", units), ("to the end", [*units[:5], 0])):
        model = Counting(net(8))
        found = pl.inspect.dream(model, aims, shape=(3, 10, 10), steps=2)
        most[name] = max(model.calls)
        assert found.evaluations == (sum(model.calls), 12, len(model.calls))
    assert most["short"] >= 3
    assert most["to the end"] == 1


def test_dreams_of_a_size_that_is_asked_for_are_not_measured(monkeypatch):
    small(monkeypatch, 0.1)
    model = Counting(net())
    pl.inspect.dream(model, [0, 1, 0], shape=(3, 10, 10), steps=2, batch_size=3)
    assert model.calls == [3, 3, 3]


@pytest.mark.parametrize("by", ["activation", "relevance"])
def test_top_examples_are_explained_so_many_at_a_time(by, monkeypatch):
    options = {"by": by, "k": 5, "patches": True, "target": 0}
    whole = pl.top_examples(net(), DATA, "0", [0, 1], **options)
    small(monkeypatch, 3.5)
    model = Counting(net())
    found = pl.top_examples(model, DATA, "model.0", [0, 1], **options, folder=None)
    assert max(model.calls[-4:]) == 3
    for one, other in zip(found, whole, strict=True):
        assert_close(one.explanation.values, other.explanation.values)
        assert one.index.tolist() == other.index.tolist()


def test_a_mutant_that_counts_nothing_dies(monkeypatch):
    monkeypatch.setattr(room, "kept", lambda run, known=(): 1)
    with pytest.raises(AssertionError):
        test_dreams_climb_so_many_at_a_time(2.5, 2, monkeypatch)
