"""Options of methods: numbers of any make are taken, all else is refused in our words."""

import dataclasses
import inspect

import numpy as np
import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.errors import InputError


@pytest.mark.parametrize("make", [int, np.int64, np.uint8, torch.tensor])
def test_whole_numbers_of_any_make(make):
    assert pl.SmoothGrad(samples=make(3), seed=make(4)) == pl.SmoothGrad(samples=3, seed=4)
    assert pl.GradientSHAP(samples=make(3)) == pl.GradientSHAP(samples=3)
    assert pl.IntegratedGradients(steps=make(3)) == pl.IntegratedGradients(steps=3)
    assert type(pl.SimpleTaylor(steps=make(3)).steps) is int


@pytest.mark.parametrize("make", [float, np.float32, np.float64, torch.tensor])
def test_numbers_of_any_make(make):
    assert pl.SmoothGrad(noise=make(0.25)) == pl.SmoothGrad(noise=0.25)
    assert type(pl.IntegratedGradients(tolerance=make(0.5)).tolerance) is float
    assert pl.InteriorGradient(alpha=make(0.5)) == pl.InteriorGradient(alpha=0.5)


@pytest.mark.parametrize("make", [list, tuple, np.array, torch.tensor])
def test_several_alphas_of_any_make(make):
    method = pl.InteriorGradient(alpha=make([0.25, 0.5]))
    assert method == pl.InteriorGradient(alpha=(0.25, 0.5))
    assert hash(method) == hash(pl.InteriorGradient(alpha=(0.25, 0.5)))


@pytest.mark.parametrize("make", [list, tuple, np.array, torch.tensor])
def test_several_areas_of_any_make(make):
    assert pl.ExtremalPerturbation(area=make([0.25, 0.5])).area == (0.25, 0.5)


WRONG = {
    (pl.RISE, "samples"): [None, 1, 2.5, True],
    (pl.RISE, "probability"): [None, 0, 1, "a", True],
    (pl.RISE, "tolerance"): [0, -1, "a", True],
    (pl.RISE, "grid"): [None, 0, 1.5, (2, 0)],
    (pl.RISE, "center"): [None, 1],
    (pl.MeaningfulPerturbation, "mode"): [None, "delete", ["deletion"]],
    (pl.MeaningfulPerturbation, "sparsity"): [None, -1, "a", float("nan")],
    (pl.MeaningfulPerturbation, "steps"): [None, 0, True],
    (pl.ExtremalPerturbation, "area"): [None, 0, 1.5, [], [0.5, 0.5], True],
    (pl.ExtremalPerturbation, "weight"): [None, 0, "a"],
    (pl.InteriorGradient, "alpha"): [None, "0.1", 0, 1.5, [], [0.5, None], True, float("nan")],
    (pl.SmoothGrad, "samples"): [None, 0, 1.5, True, "3"],
    (pl.SmoothGrad, "seed"): [None, 1.5, "a", True],
    (pl.SmoothGrad, "noise"): [None, "a", -1, float("inf"), float("nan"), True],
    (pl.SmoothGrad, "reduce"): [None, "median", ["mean"]],
    (pl.SmoothGrad, "method"): [None, 3, pl.Saliency, "nope", ["saliency"]],
    (pl.Saliency, "reduce"): [None, "mean", ["signed"]],
    (pl.GradientSHAP, "samples"): [None, 0, True],
    (pl.GradientSHAP, "seed"): [None, 1.5],
    (pl.GradientSHAP, "noise"): [None, "a", -0.1],
    (pl.IntegratedGradients, "steps"): [0, True, 2.5, "a"],
    (pl.IntegratedGradients, "tolerance"): [None, "a", 0, -1, float("nan")],
    (pl.SimpleTaylor, "steps"): [None, 0, True],
}


@pytest.mark.parametrize(
    ("method", "option", "value"),
    [(*key, value) for key, values in WRONG.items() for value in values],
    ids=str,
)
def test_wrong_options_are_named(method, option, value):
    word = "A method" if option == "method" else f"`{option}`"
    with pytest.raises(InputError, match=f"^{word}.* must be .*; got "):
        method(**{option: value})


@pytest.mark.parametrize("name", pl.methods())
def test_explain_takes_every_option(name):
    own = {each.name for each in dataclasses.fields(pl.methods()[name])}
    taken = {*inspect.signature(pl.explain).parameters} - {"options"}
    assert not own & taken


def test_lime_takes_its_local_model_by_name():
    x = torch.ones(1, 4)
    found = pl.explain(lambda x: (x[:, 0] * x[:, 1]).unsqueeze(1), x, "lime", local="tree")
    assert found.method == pl.LIME(local="tree")


def test_samples_are_taken_by_slices():
    x = torch.randn(4, 3)
    found = pl.explain(nn.Linear(3, 2), x, "integrated_gradients", baseline=pl.Baseline.mean())
    part = found[1:3]
    assert len(part) == 2
    assert torch.equal(part.values, found.values[1:3])
    assert torch.equal(part.inputs, x[1:3])
    assert part.target.classes == found.target.classes[1:3]
    assert torch.equal(found[::-1].score, found.score.flip(0))
    assert found[np.int64(2)] == found[2] == found[2:3]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a", "A sample must be a whole number or a slice; got 'a'"),
        (1.0, "A sample must be a whole number or a slice; got 1.0"),
        (slice("a", None), "A sample must be a whole number or a slice"),
        (slice(2, 2), "A slice must hold at least one sample"),
        (4, "A sample must be from 0 to 3; got 4"),
    ],
)
def test_samples_that_there_are_not(row, message):
    found = pl.explain(nn.Linear(3, 2), torch.randn(4, 3), "saliency")
    with pytest.raises(InputError, match=message):
        found[row]
