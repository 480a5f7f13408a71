"""A baseline makes a reference for the inputs it stands against."""

import math

import pandas as pd
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.baseline import Baseline
from pellucid.batching import Batcher
from pellucid.case import Case, Counter
from pellucid.errors import InputError
from pellucid.features import Features
from pellucid.game import Game
from pellucid.program import Program
from pellucid.structure import Inputs
from pellucid.target import Target

IMAGES = torch.randn(3, 2, 8, 6, dtype=torch.float64)


def reference(given: object, inputs: object = IMAGES) -> object:
    taken = Inputs.of(inputs)
    made = Baseline.of(given).single(taken)
    return made.pack(made.leaves)


def test_nothing_said_is_zero():
    assert_close(reference(None), torch.zeros_like(IMAGES))


def test_a_number_stands_everywhere():
    assert_close(reference(0.5), torch.full_like(IMAGES, 0.5))


@pytest.mark.parametrize("row", [IMAGES[0], IMAGES[:1]], ids=["sample", "row"])
def test_one_row_stands_for_every_sample(row):
    assert_close(reference(row), IMAGES[:1].expand_as(IMAGES))


def test_several_rows_are_a_background():
    background = Baseline.of(IMAGES[:2]).background(Inputs.of(IMAGES))
    assert len(background) == 2
    assert_close(background[1].leaves[0], IMAGES[1:2].expand_as(IMAGES))


def test_a_background_is_not_one_reference():
    with pytest.raises(InputError, match=r"one reference a sample; got .*2 rows.*per_sample"):
        reference(IMAGES[:2])


def test_one_reference_a_sample():
    assert_close(reference(Baseline.per_sample(IMAGES.flip(0))), IMAGES.flip(0))


def test_the_mean_of_each_channel():
    mean = reference(Baseline.mean())
    assert mean.shape == IMAGES.shape
    assert_close(mean[1, 1], IMAGES[1, 1].mean().expand(8, 6))


def test_blur_keeps_a_constant_and_loses_detail():
    constant = torch.full_like(IMAGES, 3.0)
    assert_close(reference(Baseline.blur(), constant), constant)
    blurred = reference(Baseline.blur(0.3))
    assert blurred.std() < 0.5 * IMAGES.std()
    assert_close(blurred[1:2], reference(Baseline.blur(0.3), IMAGES[1:2]))


def test_noise_is_the_same_in_every_call_and_batch():
    before = torch.get_rng_state()
    noise = reference(Baseline.noise(0.5, seed=1))
    assert_close(noise[1:2], reference(Baseline.noise(0.5, seed=1), IMAGES[1:2]))
    assert not torch.equal(noise, reference(Baseline.noise(0.5, seed=2)))
    assert torch.equal(before, torch.get_rng_state())


def test_the_type_of_the_input_is_followed():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = IMAGES.to(dtype)
        for given in (0.5, IMAGES[0], Baseline.mean(), Baseline.noise()):
            assert reference(given, x).dtype == dtype


def test_integer_inputs_stay_as_they_are():
    tokens = torch.tensor([[1, 2], [3, 4]])
    a, b = reference(0.0, (tokens, torch.ones(2, 3)))
    assert torch.equal(a, tokens)
    assert torch.equal(b, torch.zeros(2, 3))


def test_a_dict_goes_by_its_keywords():
    inputs = {"a": torch.ones(2, 3), "b": torch.ones(2, 3)}
    swapped = {"b": torch.full((1, 3), 7.0), "a": torch.full((1, 3), 5.0)}
    made = reference(swapped, inputs)
    assert made["a"].unique().item() == 5
    assert made["b"].unique().item() == 7


X, H = torch.randn(3, 5, 2), torch.randn(1, 3, 4)  # the batch is on axis 0 of X, 1 of H
STATE = (X, {"state": (H, H + 1), "train": False})


def test_a_baseline_has_the_structure_and_the_layout_of_the_inputs():
    taken = Inputs.of(STATE, (0, {"state": 1}))
    given = (X[0], {"state": (H[:, :1], 0.5)})
    made = Baseline.of(given).single(taken)
    x, inner = made.pack(made.leaves)
    assert_close(x, X[:1].expand_as(X))
    assert_close(inner["state"][0], H[:, :1].expand_as(H))
    assert_close(inner["state"][1], torch.full_like(H, 0.5))
    assert inner["train"] is False


def test_a_baseline_per_sample_is_selected_along_the_batch_of_each_input():
    taken = Inputs.of(STATE, (0, {"state": 1}))
    axes = {(0,): 0, (1, "state", 0): 1, (1, "state", 1): 1}
    whole = Baseline.per_sample((X * 2, {"state": (H * 2, H * 3)}))
    rows = torch.tensor([2, 0])
    made = whole.select(rows, 3, axes).single(taken.select(rows))
    x, inner = made.pack(made.leaves)
    assert_close(x, 2 * X[rows])
    assert_close(inner["state"][1], 3 * H[:, rows])
    first = whole.moved(axes)
    assert [list(t.shape) for t in first.tensors] == [[3, 5, 2], [3, 1, 4], [3, 1, 4]]
    with pytest.raises(InputError, match=r"one row for each of the 3 samples; got \(float32\[1, 3"):
        Baseline.per_sample(H).select(rows, 3)


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ((X[0],), r"`inputs\[0\]`: float32\[5, 2\] on cpu\."),
        (X[0], r"`inputs`: float32\[5, 2\] on cpu\."),
        ((X[0], {"state": H[:, :1]}), r"`inputs\[0\]`: .*, `inputs\[1\]\['state'\]`: "),
        ((X[0], {"state": (H[:, :1], 0.0, 0.0)}), r".*`inputs\[1\]\['state'\]\[2\]`: "),
        ({"x": X[0]}, r"`x`: float32\[5, 2\] on cpu\."),
    ],
    ids=range(5),
)
def test_a_baseline_of_another_structure_is_told_both(given, received):
    expected = (
        r"^`baseline` must have the structure of the inputs, with one tensor for each of the 3 "
        r"inputs, `inputs\[0\]`: float32\[3, 5, 2\] on cpu, `inputs\[1\]\['state'\]\[0\]`: float32"
        r"\[3, 1, 4\] on cpu, `inputs\[1\]\['state'\]\[1\]`: .*; got "
    )
    with pytest.raises(InputError, match=expected + received):
        Baseline.of(given).single(Inputs.of(STATE, (0, {"state": 1})))


def test_equal_baselines_are_equal():
    assert Baseline.of(IMAGES[:1]) == Baseline.of(IMAGES[:1].clone())
    assert Baseline.of(0.0) == Baseline.of(None)
    assert Baseline.of(1.0) != Baseline.of(0.0)
    assert hash(Baseline.of(0.0)) == hash(Baseline.of(None))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: "black", r"`baseline` must be a number, a tensor or a Baseline; got 'black'"),
        (lambda: True, r"`baseline` must be a number, a tensor or a Baseline; got True"),
        (lambda: float("nan"), r"A baseline must be finite; got nan"),
        (lambda: IMAGES[0] / 0, r"A baseline must be finite; got float64\[2, 8, 6\]"),
        (lambda: IMAGES[:, :, :4], r"baseline of `inputs` must have the shape of one sample"),
        (
            lambda: (IMAGES[0], IMAGES[0]),
            r"`baseline` must have the structure of the inputs, with one tensor for each of the 1 "
            r"inputs, `inputs`: float64\[3, 2, 8, 6\] on cpu; got `inputs\[0\]`: float64\[2, 8, 6\]"
            r" on cpu, `inputs\[1\]`: ",
        ),
        (lambda: Baseline.per_sample(IMAGES[:2]), r"must have the shape of `inputs`"),
        (
            lambda: [1.0, 2.0],
            r"one tensor for each of the 1 inputs, .*; got `inputs\[0\]`: float32",
        ),
        (lambda: [IMAGES[0], "black"], r"A baseline must be made of tensors; got 'black'"),
        (lambda: (), r"A baseline must be made of tensors; got \(\)"),
        (lambda: (None,), r"A baseline must be made of tensors; got \(None,\)"),
    ],
)
def test_what_is_no_baseline_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        reference(given())


def test_a_mask_token_stands_for_integers_and_zero_for_numbers():
    ids, keep = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[True, False]] * 2)
    made, numbers, mask = reference(Baseline.token(103), (ids, torch.ones(2, 3), keep))
    assert made.tolist() == [[103, 103]] * 2
    assert torch.equal(numbers, torch.zeros(2, 3))
    assert torch.equal(mask, keep)
    assert Baseline.token(103).is_integer
    assert not Baseline().is_integer


def test_uniform_noise_is_spread_over_the_range_of_each_sample():
    noise = reference(Baseline.uniform(seed=3))
    for row, image in zip(noise, IMAGES, strict=True):
        assert image.min() <= row.min()
        assert row.max() <= image.max()
        assert row.max() - row.min() > 0.8 * (image.max() - image.min())
    assert not torch.equal(noise, reference(Baseline.uniform(seed=4), IMAGES))
    assert_close(noise[:1], reference(Baseline.uniform(seed=3), IMAGES[:1]))


def test_channels_that_come_last_are_channels():
    last = torch.rand(2, 8, 6, 3, dtype=torch.float64)
    first = last.movedim(-1, 1)
    for baseline in (Baseline.mean(), Baseline.blur(0.2)):
        assert_close(reference(baseline, last), reference(baseline, first).movedim(1, -1))


def test_samples_are_drawn_without_putting_back_the_same_each_time():
    data = torch.arange(20.0).reshape(10, 2)
    drawn = Baseline.samples(data, 4, seed=1)
    (rows,) = drawn.tensors
    assert rows.shape == (4, 2)
    assert len(set(rows[:, 0].tolist())) == 4
    assert drawn == Baseline.samples(data, 4, seed=1) != Baseline.samples(data, 4, seed=2)
    assert torch.equal(Baseline.samples(data).tensors[0], data)
    assert torch.equal(Baseline.samples(data, 99).tensors[0], data)
    both = Baseline.samples((data, data * 2), 3)
    assert torch.equal(both.tensors[0] * 2, both.tensors[1])


def test_centers_are_those_of_kmeans_with_the_share_of_their_rows():
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    data[:10] += 50
    made = Baseline.kmeans(data, 2)
    assert made.weights == (0.75, 0.25)
    assert_close(made.tensors[0], torch.stack([data[10:].mean(0), data[:10].mean(0)]))
    assert made == Baseline.kmeans(data.numpy(), 2) == Baseline.kmeans(pd.DataFrame(data), 2)
    assert made != Baseline.of(made.tensors[0])
    assert len(Baseline.kmeans(torch.ones(5, 3), 4).weights) == 1


class Table(nn.Module):
    """A score that is not linear in two columns."""

    def forward(self, x):
        return (x[:, :1] * x[:, 1:]).tanh()


def game(x, baseline, features=None, model=None):
    """The game of a case as methods play it."""
    inputs = Inputs.of(x)
    case = Case(
        program=Program(model or Table()),
        inputs=inputs,
        target=Target.of(0),
        rows=torch.arange(inputs.rows),
        total=inputs.rows,
        batcher=Batcher("auto", start=5),
        counter=Counter(),
    )
    return Game(case, case.players(features), case.background(baseline))


def test_a_game_weighs_the_centers_of_a_background():
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = torch.tensor([[0.0, 1.0], [2.0, 3.0]], dtype=torch.float64)
    weighed = Baseline.kmeans(rows.repeat_interleave(torch.tensor([3, 1]), 0), 2)
    coalitions = torch.tensor([[[True, False], [False, False], [True, True]]])
    found = game(x, weighed).values(coalitions)
    same = game(x, rows[[0, 0, 0, 1]]).values(coalitions)
    assert_close(found, same)
    assert not torch.allclose(found, game(x, rows).values(coalitions))


def test_a_game_fills_in_what_is_absent_from_what_is_there():
    x = torch.arange(6.0).expand(2, 1, 6) * torch.tensor([1.0, 3.0])[:, None, None]
    played = game(x, Baseline.inpaint(), Features.windows(2), nn.Sequential(nn.Flatten()))
    there = torch.tensor([[True, False, True], [False, False, False]])
    point = played.point(there, torch.tensor([1, 0]), torch.zeros(2).long())
    assert_close(point.leaves[0][0], x[1], atol=0.05, rtol=0)  # a line is filled in by a line
    assert_close(point.leaves[0][1], torch.full((1, 6), 2.5))


def test_what_is_there_is_kept_as_it_is_by_inpainting():
    last = torch.rand(2, 9, 8, 3)
    played = game(last, Baseline.inpaint(), Features.grid(2), nn.Flatten())
    there = torch.tensor([[True, False, False, True]])
    (made,) = played.point(there, torch.tensor([1]), torch.zeros(1).long()).leaves
    (mask,) = played.players.present(there.float(), torch.tensor([1]))
    kept = mask.bool().expand_as(made)
    assert torch.equal(made[kept], last[1:][kept])
    assert not torch.isclose(made, last[1:])[~kept].any()
    assert made.min() >= last[1].min()
    assert made.max() <= last[1].max()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Baseline.inpaint().check(Inputs.of(torch.ones(2, 3))),
            r"must be of images or sig",
        ),
        (
            lambda: Baseline.inpaint().check(Inputs.of(torch.ones(2, 3, 4).long())),
            r"images or signals: `inputs`.*; got int64.*Baseline\.token\(id\)",
        ),
        (
            lambda: Baseline.inpaint().single(Inputs.of(IMAGES)),
            r"not depend on what is absent; got",
        ),
        (
            lambda: Baseline.token(3).check(Inputs.of(IMAGES)),
            r"must stand for ids of a tensor; got \(float64",
        ),
        (
            lambda: pl.explain(
                lambda frame: frame["b"].map({"x": 1.0, "y": 2.0}).to_numpy(),
                pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}),
                "occlusion",
                baseline=Baseline.uniform(),
            ),
            r"table with categories must be rows of data; got Baseline\.uniform.*samples",
        ),
        (lambda: Baseline.token(1.5), r"`number` must be a whole number"),
        (
            lambda: Baseline.samples(torch.ones(0, 2)),
            r"`data` must have rows.*; got float32\[0, 2\]",
        ),
        (lambda: Baseline.samples((torch.ones(2, 2), torch.ones(3, 2))), r"as many for each input"),
        (lambda: Baseline.samples(3), r"`data` must have rows.*; got 3"),
        (lambda: Baseline.samples(IMAGES, 0), r"`count` must be a whole number, at least 1; got 0"),
        (
            lambda: Baseline.kmeans(pd.DataFrame({"a": ["x", "y"]})),
            r"`data` must be numbers; got DataFrame.*Baseline\.samples",
        ),
        (lambda: Baseline.kmeans(torch.tensor([[1.0], [math.nan]])), r"finite rows.*Drop rows"),
        (
            lambda: Baseline.kmeans(IMAGES[:, 0, 0]).check(Inputs.of(torch.ones(2, 6).long())),
            r"Centers must be those of numbers: `inputs`",
        ),
    ],
    ids=range(13),
)
def test_what_cannot_be_a_baseline_of_this_kind(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("baseline", [Baseline.inpaint(), Baseline.kmeans(IMAGES, 2)])
def test_a_method_that_follows_operations_takes_points_that_count_alike(baseline):
    model = nn.Sequential(nn.Flatten(), nn.Linear(96, 2).double())
    with pytest.raises(InputError, match=r"points that count alike; got .* for integrated_grad"):
        pl.explain(model, IMAGES, "integrated_gradients", baseline=baseline)


@pytest.mark.parametrize(
    ("baseline", "text"),
    [
        (Baseline.inpaint(), "Baseline.inpaint()"),
        (Baseline.token(7), "Baseline.token(7)"),
        (Baseline.uniform(seed=2), "Baseline.uniform(seed=2)"),
        (Baseline.blur(0.2), "Baseline.blur(0.2)"),
    ],
)
def test_baselines_are_written_as_they_are_made(baseline, text):
    assert repr(baseline) == text
    assert eval(text) == baseline  # of ours
