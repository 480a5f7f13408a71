"""Occlusion against a slow textbook loop: windows, players, baselines, what it costs, bad input."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.features import Features
from pellucid.perturb.windows import Windows
from tests.counting import Counting
from tests.zoo.network import normal, seeded


class Bent(nn.Module):
    """A score that is not linear in any part of the input."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.last = seeded(nn.Linear(size, 5)), seeded(nn.Linear(5, 2), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (batch, 2)."""
        return self.last(torch.tanh(self.first(x.flatten(1))))


def textbook(model, x, window, stride, reference, k=1):
    """Loop over windows, and over the elements of each; all axes of a sample are given."""
    shape = x.shape[1:]
    total, count = torch.zeros_like(x), torch.zeros(shape)
    grids = []
    for n, size, step in zip(shape, window, stride, strict=True):
        grids.append([i * step for i in range(max(0, math.ceil((n - size) / step)) + 1)])
    with torch.no_grad():
        whole = model(x)[:, k]
        for corner in itertools.product(*grids):
            hidden = x.clone()
            inside = [
                range(start, min(start + size, n))
                for start, size, n in zip(corner, window, shape, strict=True)
            ]
            for place in itertools.product(*inside):
                hidden[(slice(None), *place)] = reference[(slice(None), *place)]
            drop = whole - model(hidden)[:, k]
            for place in itertools.product(*inside):
                total[(slice(None), *place)] += drop
                count[place] += 1
    return total / count.clamp(min=1)


CASES = {
    "table": ((7,), 3, 2, (3,), (2,)),
    "every feature": ((4,), 1, 1, (1,), (1,)),
    "signal": ((2, 9), 4, 3, (2, 4), (2, 3)),
    "image": ((2, 5, 6), 2, 2, (2, 2, 2), (2, 2, 2)),
    "ragged": ((2, 7, 5), 3, 3, (2, 3, 3), (2, 3, 3)),
    "gaps": ((2, 7, 7), 1, 3, (2, 1, 1), (2, 3, 3)),
    "all axes": ((2, 5, 6), (1, 3, 2), (1, 2, 1), (1, 3, 2), (1, 2, 1)),
    "volume": ((1, 4, 3, 5), 2, 2, (1, 2, 2, 2), (1, 2, 2, 2)),
    "channels last": ((6, 5, 3), 2, 1, (2, 2, 3), (1, 1, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_loop_over_windows(name):
    shape, window, stride, windows, strides = CASES[name]
    model, x = Bent(math.prod(shape)).double(), normal(3, *shape, seed=2)
    reference = normal(1, *shape, seed=3)
    found = pl.Occlusion(window=window, stride=stride, baseline=reference)(model, x, target=1)
    expected = textbook(model, x, windows, strides, reference.expand_as(x))
    values = found.values
    assert values.shape == x.shape or isinstance(window, int)
    assert_close(values.expand_as(x), expected, rtol=1e-9, atol=1e-12)
    assert expected.abs().max() > 0
    assert any("gaps" in note for note in found.notes) == (name == "gaps")


@given(
    n=st.integers(1, 12), size=st.integers(1, 12), stride=st.integers(1, 5), other=st.integers(1, 4)
)
@settings(deadline=None, max_examples=60)
def test_there_are_as_many_windows_as_promised(n, size, stride, other):
    size = min(size, n)
    windows = Windows.of(torch.zeros(1, 2, n, other), (2, size, 1), (2, stride, 1))
    assert windows.counts == (1, math.ceil((n - size) / stride) + 1, other)
    members = windows.members(torch.arange(windows.total))
    starts = windows.starts(torch.arange(windows.total))
    for member, start in zip(members, starts.tolist(), strict=True):
        assert member.sum() == 2 * max(0, min(size, n - start[1]))  # none, behind a gap at the end
        assert member[0, start[1] : start[1] + size, start[2]].all()
    drops = torch.randn(1, windows.total, dtype=torch.float64)
    slow = (drops.reshape(-1, 1, 1, 1) * members).sum(0) / members.sum(0).clamp(min=1)
    assert_close(windows.average(drops)[0], slow)


def test_windows_and_strides_that_are_not_given_follow_from_the_shape():
    windows = Windows.of(torch.zeros(1, 3, 224, 100), None, None)
    assert windows.size == (1, 32, 15)
    assert windows.stride == (1, 16, 8)
    assert Windows.of(torch.zeros(1, 5), None, None).size == (1,)
    assert Windows.of(torch.zeros(1, 3, 8, 8), 4, None).stride == (1, 2, 2)
    assert Windows.of(torch.zeros(1, 3, 8, 8), 4, (3, 2, 1)).stride == (1, 2, 1)
    assert Windows.of(torch.zeros(1, 3, 8, 8), 4, (3, 2, 1)).shape == (1, 8, 8)


def test_columns_and_tokens_are_hidden_one_by_one_unless_a_window_is_asked_for():
    table, ids = torch.zeros(2, 30), torch.zeros(2, 30, dtype=torch.long)
    for leaf in (table, ids):
        assert Windows.of(leaf, None, None).total == 30
        assert Windows.of(leaf, None, 2).total == 16  # with gaps
        assert Windows.of(leaf, 5, None).stride == (3,)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_tensor_is_occluded_as_the_frame_and_the_array_of_its_rows(rows):
    model, x = Bent(30).double(), normal(rows, 30, seed=4)

    def on_arrays(table):
        return model(torch.tensor(np.asarray(table))).detach().numpy()

    found = pl.explain(model, x, "occlusion", target=1)
    frame = pd.DataFrame(x.numpy(), columns=[f"c{i}" for i in range(30)])
    for rows_of in (frame, x.numpy()):
        other = pl.explain(on_arrays, rows_of, "occlusion", target=1)
        assert_close(torch.as_tensor(np.asarray(other.values)), found.values)
    assert_close(found.values, textbook(model, x, (1,), (1,), torch.zeros_like(x)))


def test_a_table_beside_an_image_is_occluded_by_column():
    def model(table: Tensor, image: Tensor) -> Tensor:
        return (table * torch.arange(30.0)).sum(1, keepdim=True) + image.mean((1, 2, 3)).view(-1, 1)

    found = pl.explain(model, (torch.ones(2, 30), torch.ones(2, 1, 14, 14)), "occlusion", target=0)
    assert_close(found.values[0], torch.arange(30.0).expand(2, -1))


def test_on_an_affine_model_a_window_has_what_its_elements_have():
    model, x = seeded(nn.Linear(6, 2)).double(), normal(2, 6, seed=1)
    found = pl.Occlusion(window=1, stride=1, baseline=0.5)(model, x, target=0)
    assert_close(found.values, (x - 0.5) * model.weight[0].detach(), rtol=1e-9, atol=1e-12)


def test_players_are_removed_one_by_one():
    model, x = Bent(12).double(), normal(3, 1, 3, 4, seed=2)
    labels = torch.tensor([[0, 0, 1, 1], [2, 0, 1, 1], [2, 2, -1, -1]])
    found = pl.Occlusion(features=labels, baseline=0.2)(model, x, target=1)
    with torch.no_grad():
        for player in range(3):
            hidden = torch.where(labels == player, 0.2, x)
            drop = model(x)[:, 1] - model(hidden)[:, 1]
            assert_close(found.players[:, player], drop)
            elements = found.values[:, 0, labels == player]
            assert_close(elements, drop.unsqueeze(1).expand_as(elements))
    assert (found.values[:, 0, labels < 0] == 0).all()


def test_patches_that_do_not_overlap_are_windows():
    model, x = Bent(72).double(), normal(2, 2, 6, 6, seed=5)
    slid = pl.Occlusion(window=3, stride=3)(model, x, target=1)
    removed = pl.Occlusion(features=Features.patches(3))(model, x, target=1)
    assert_close(removed.values.expand_as(x), slid.values.expand_as(x))


@pytest.mark.parametrize("incremental", [True, False])
def test_a_background_is_averaged_over(incremental):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 2)).double()
    x, rows = normal(2, 2, 6, 6, seed=5), normal(3, 2, 6, 6, seed=6)
    ask = {"window": 2, "stride": 1, "incremental": incremental}
    found = pl.Occlusion(baseline=rows, **ask)(model, x, target=1)
    each = [textbook(model, x, (2, 2, 2), (1, 1, 1), row.expand_as(x)) for row in rows.unsqueeze(1)]
    assert_close(found.values.expand_as(x), torch.stack(each).mean(0), rtol=1e-9, atol=1e-12)
    own = pl.Occlusion(baseline=pl.Baseline.per_sample(rows[:2]), **ask)(model, x, target=1)
    expected = textbook(model, x, (2, 2, 2), (1, 1, 1), rows[:2])
    assert_close(own.values.expand_as(x), expected, rtol=1e-9, atol=1e-12)


def test_every_input_has_windows_on_its_own_axes():
    model = Bent(4 + 18).double()

    def both(table: Tensor, image: Tensor) -> Tensor:
        return model(torch.cat([table, image.flatten(1)], 1))

    table, image = normal(2, 4, seed=1), normal(2, 2, 3, 3, seed=2)
    found = pl.Occlusion(window=2, stride=1)(both, (table, image), target=1)
    first = textbook(lambda t: both(t, image), table, (2,), (1,), torch.zeros_like(table))
    zeros = torch.zeros_like(image)
    second = textbook(lambda i: both(table, i), image, (2, 2, 2), (1, 1, 1), zeros)
    assert_close(found.values[0], first)
    assert_close(found.values[1].expand_as(image), second)


def test_ids_are_absent_as_the_baseline_says():
    table = seeded(nn.Embedding(9, 4)).double()
    model = nn.Sequential(table, Bent(20).double())
    ids = torch.tensor([[1, 2, 3, 4, 5], [5, 6, 7, 8, 1]])
    marks = torch.zeros(1, 5, dtype=torch.long)
    found = pl.Occlusion(window=2, stride=1, baseline=marks)(model, ids, target=1)
    zeroed = pl.Occlusion(window=2, stride=1)(model, ids, target=1)
    with torch.no_grad():
        vectors = table(ids)
        for place in range(4):
            hidden = ids.clone()
            hidden[:, place : place + 2] = 0
            dark = vectors.clone()
            dark[:, place : place + 2] = 0
            drop = model(ids)[:, 1] - model(hidden)[:, 1]
            gone = model(ids)[:, 1] - model[1](dark)[:, 1]
            if place == 0:  # no other window covers the first
                assert_close(found.values[:, 0], drop)
                assert_close(zeroed.values[:, 0], gone)
    assert found.values.shape == zeroed.values.shape == ids.shape


@pytest.mark.parametrize("batch", [1, 4, 7, 64])
def test_rows_travel_in_full_batches(batch):
    model, x = Counting(Bent(10).double()), normal(2, 10, seed=1)
    found = pl.Occlusion(window=3, stride=2)(model, x, target=1, batch_size=batch)
    evaluations = 5 * 2
    before = math.ceil(2 / batch)
    rows = [min(batch, 2 - start) for start in range(0, 2, batch)]
    expected = sum(math.ceil(5 * n / batch) for n in rows)
    assert len(model.calls) == before + expected == found.evaluations.calls
    assert sum(model.calls) == 2 + evaluations
    assert max(model.calls) <= batch


def test_one_window_may_hide_all_of_a_smaller_input():
    def model(image: Tensor, row: Tensor) -> Tensor:
        return (image.sum((1, 2, 3)) * 2 + row.sum(1)).unsqueeze(1)

    inputs = (torch.ones(2, 1, 8, 8), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    image, row = pl.Occlusion(window=4)(model, inputs).values
    assert_close(image, torch.full((2, 1, 8, 8), 32.0))
    assert_close(row, torch.tensor([[3.0, 3.0], [7.0, 7.0]]))
    with pytest.raises(InputError, match=r"a sample of `inputs\[0\]`, of \[8, 8\]"):
        pl.Occlusion(window=9)(model, inputs)


def test_players_without_number_do_not_need_memory_without_bound():
    x = torch.zeros(1, 1, 60, 60)
    found = pl.Occlusion(features=Features.elements())(
        lambda x: x.flatten(1).sum(1, keepdim=True), x + 1, batch_size=500
    )
    assert_close(found.players, torch.ones(1, 3600, dtype=torch.float64))


BAD = [
    ({"window": 0}, "`window` must be a whole number, at least 1; got 0"),
    ({"stride": 0}, "`stride` must be a whole number, at least 1; got 0"),
    ({"window": 2.5}, "`window` must be a whole number, at least 1; got 2.5"),
    ({"window": 9}, r"`window` must not be larger than a sample of `inputs`, of \[8, 8\]"),
    ({"window": (2, 2)}, "one for each of the 3 axes of `inputs` after the batch; got 2 numbers"),
    ({"window": 2, "stride": (1, 1, 1, 1)}, "`stride` must be a whole number, or one for each"),
    ({"window": 2, "features": Features.elements()}, "Either windows slide or players are removed"),
    ({"incremental": True, "features": Features.elements()}, "`incremental` is for windows that"),
    ({"incremental": "yes"}, "`incremental` must be True, False, or None"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_what_cannot_be_is_said_before_any_run(options, message):
    model = Counting(Bent(192))
    with pytest.raises(InputError, match=message):
        pl.Occlusion(**options)(model, torch.zeros(1, 3, 8, 8))
    assert model.calls == []
