"""Several layers in one pass over the data: what each finds alone, and each sample runs once."""

import importlib

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.inspect import top, top_search
from pellucid.inspect.top_layers import TopOfLayers
from pellucid.run.samples import Samples
from pellucid.survey import survey
from tests.propagate.test_concepts import PLAIN
from tests.zoo.network import normal, seeded

DATA = normal(11, 2, 8, 8, seed=4)
CHANNELS = {"first": [2, 0], "second": [3, 1], "third": [0]}


def counted() -> tuple[nn.Module, list[Tensor]]:
    """A net that remembers what it was called with."""
    calls: list[Tensor] = []
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten())
    net = seeded(net.append(nn.Linear(48, 3))).eval()
    net.register_forward_pre_hook(lambda _, args: calls.append(args[0].detach().clone()))
    return net, calls


def check_alike(found: TopOfLayers) -> None:
    for layer, channels in found.channels.items():
        alone = pl.top_examples(
            PLAIN, DATA[:, :, :4, :4], layer, channels, by="activation", k=3, patches=True
        )
        for one, other in zip(found.of(layer), alone, strict=True):
            assert (one.layer, one.channel, one.seen) == (layer, other.channel, 11)
            assert torch.equal(one.index, other.index)
            assert torch.equal(one.place, other.place)
            assert torch.equal(one.box, other.box)
            assert_close(one.amounts, other.amounts)
            assert_close(one.explanation.values, other.explanation.values)
            assert torch.equal(one.inputs, other.inputs)


@pytest.mark.parametrize("size", [1, 4, "auto"])
@pytest.mark.parametrize("most", [0, top_search.BYTES])
def test_each_layer_finds_what_it_finds_alone(size, most, monkeypatch):
    """Whether the inputs of the best are held on the way, or read again."""
    monkeypatch.setattr(top_search, "BYTES", most)
    data = DATA[:, :, :4, :4]
    check_alike(TopOfLayers(model=PLAIN, data=data, channels=CHANNELS, k=3, batch_size=size))


def test_each_sample_runs_forward_once_for_all_layers():
    net, calls = counted()
    channels = {"0": [0, 1], "1": [3], "2": [0, 2]}
    found = TopOfLayers(model=net, data=DATA, channels=channels, k=2, method=None, batch_size=4)
    assert calls == []  # it begins when it is read
    for layer in channels:
        found.of(layer)
    assert [len(each) for each in calls] == [4, 4, 3, 1, 1, 1]  # and what units of a layer see


def test_in_a_survey_too(monkeypatch):
    """What is not among the best of any layer, and not the first, runs forward once."""
    home = importlib.import_module("pellucid.survey.survey")
    monkeypatch.setattr(home, "MOST_LOOKED_AT", 1)
    monkeypatch.setattr(home, "MOST_HELD", 1)
    net, calls = counted()
    found = survey(net, DATA, ["0", "1", "2"], units=1, k=1, steps=1, classes=0, batch_size=3)
    shown = {int(i) for layer in found.layers for unit in layer.units for i in unit.index}
    runs = [sum(bool((each == x).flatten(1).all(1).any()) for each in calls) for x in DATA]
    assert {runs[row] for row in range(1, 11) if row not in shown} == {1}


def test_a_survey_that_was_stopped_does_not_run_over_the_data_again(monkeypatch, tmp_path):
    options = {"units": 1, "k": 1, "steps": 1, "classes": 0, "batch_size": 3}
    net, _ = counted()
    run, passes = top.Search.run, []

    def seen_before(search, data, folder):
        bests, held = run(search, data, folder)
        passes.append(held)
        if len(passes) == 1:
            raise KeyboardInterrupt
        return bests, held

    monkeypatch.setattr(top.Search, "run", seen_before)
    with pytest.raises(KeyboardInterrupt):
        survey(net, DATA, ["0", "2"], folder=tmp_path / "run", **options)
    again = survey(net, DATA, ["0", "2"], folder=tmp_path / "run", **options)
    first, second = passes
    assert first.rows  # which it met on the way, and the second run did not go that way
    assert not second.rows
    whole = survey(net, DATA, ["0", "2"], **options)
    assert again.to_frame().equals(whole.to_frame())


class PowerError(RuntimeError):
    """What ends a run in the middle."""


def stopped(folder: object) -> TopOfLayers:
    """A run that goes on where one before it ended; it reads no sample twice."""
    read: list[int] = []

    def samples(end: int) -> Samples:
        def rows(start: int, stop: int) -> Tensor:
            if stop > end:
                raise PowerError
            read.append(start)
            return DATA[start:stop, :, :4, :4]

        return Samples(rows=11, read=rows, mark="DATA")

    options = {"model": PLAIN, "channels": CHANNELS, "k": 3, "batch_size": 2, "folder": folder}
    with pytest.raises(PowerError):
        TopOfLayers(data=samples(7), **options).of("first")
    assert max(read) == 4
    read.clear()
    found = TopOfLayers(data=samples(11), **options)
    found.of("third")
    assert read[:3] == [6, 6, 8]  # one sample, to see how large they are, then all that are left
    return TopOfLayers(data=samples(11), **options)


def test_a_run_that_was_stopped_goes_on(tmp_path):
    check_alike(stopped(tmp_path / "run"))


def test_a_mutant_that_takes_one_layer_for_another_dies(tmp_path, monkeypatch):
    whole = top.state_of
    monkeypatch.setattr(top, "state_of", lambda bests: whole([bests[0]] * len(bests)))
    with pytest.raises((AssertionError, IndexError)):
        check_alike(stopped(tmp_path / "run"))
