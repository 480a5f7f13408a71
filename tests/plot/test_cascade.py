"""The drawing of a sanity check: what is computed, and what is drawn of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.errors import InputError
from pellucid.evaluate import measure
from pellucid.plot import Cascade, cascade


def measured(rows=6, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
    found = pl.compare(model, torch.randn(rows, 5), ["saliency", "lrp"], target=0)
    metric = pl.evaluate.named_metric("model_randomization", **options)
    return measure(model, list(found), metric)


def test_means_and_steps_are_those_of_the_curves():
    found = measured(similarity=("spearman", "cosine"))
    shown = Cascade.of(found)
    assert shown.steps == ("none", "4", "2", "0")
    assert shown.methods == ("Saliency", "LRP")
    np.testing.assert_allclose(shown.mean[1], found[1].curves["spearman"].y.mean(0))
    other = Cascade.of(found, "cosine")
    np.testing.assert_allclose(other.mean[0], found[0].curves["cosine"].y.mean(0))
    assert (shown.low <= shown.mean + 1e-12).all()
    assert (shown.mean <= shown.high + 1e-12).all()
    wide = Cascade.of(found, level=0.99)
    assert (wide.high - wide.low >= shown.high - shown.low - 1e-12).all()
    assert (shown.high - shown.low)[:, 1:].max() > 0.05


def test_samples_that_cannot_be_compared_are_left_out_where_they_cannot():
    (found, _) = measured()
    curve = found.curves["absolute_spearman"]
    y = curve.y.clone()
    y[0, 2], y[:, 3] = torch.nan, torch.nan
    shown = Cascade.of(replace(found, curves={"absolute_spearman": replace(curve, y=y)}))
    np.testing.assert_allclose(shown.mean[0, 2], y[1:, 2].mean())
    assert np.isfinite(shown.mean[0]).tolist() == [True, True, True, False]
    assert np.isfinite(shown.low[0]).tolist() == [True, True, True, False]
    few = replace(found, curves={"absolute_spearman": replace(curve, y=y[:2])})
    assert np.isnan(Cascade.of(few).high[0, 2])  # one sample has no interval


def test_what_is_drawn():
    found = measured(order="independent")
    ax = cascade(found, title="check")
    lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
    np.testing.assert_allclose([line.get_ydata() for line in lines], Cascade.of(found).mean)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4", "2", "0"]
    assert ax.get_ylabel() == "rank correlation of sizes"
    assert "randomized layer" in ax.get_xlabel()
    assert "mean of 6 samples; bands: 95 % interval" in ax.get_xlabel()
    own = cascade(found, ax=ax, dark=True)
    assert own is ax


def test_one_sample_has_no_band():
    ax = cascade(measured(rows=1))
    assert "interval" not in ax.get_xlabel()


def test_bad_measurements():
    (found, _) = measured()
    with pytest.raises(InputError, match="`measurements` must be one or several"):
        cascade([])
    with pytest.raises(InputError, match="must be that of measurements by one metric with named"):
        cascade(replace(found, curves={}))
    with pytest.raises(
        InputError, match="A similarity of these measurements must be one that exis"
    ):
        cascade(found, similarity="ssim")
    with pytest.raises(InputError, match="`ax` must be axes of matplotlib"):
        cascade(found, ax=3)
    with pytest.raises(InputError, match="`level` must be a probability"):
        cascade(found, level=2)


def test_methods_have_the_names_that_are_given():
    found = measured()
    assert Cascade.of(found, titles=["mine", "yours"]).methods == ("mine", "yours")
    key = cascade(found, titles=["mine", "yours"]).get_legend().get_texts()
    assert [text.get_text() for text in key] == ["mine", "yours"]
    with pytest.raises(InputError, match="`titles` must have a name for each of the 2 meas"):
        cascade(found, titles=["mine"])
