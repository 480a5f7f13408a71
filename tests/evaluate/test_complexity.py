"""How simple maps are, against closed forms and slow versions."""

import io
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.evaluate.complexity import (
    CompressedSize,
    EffectiveFeatures,
    Entropy,
    Incompleteness,
    Sparseness,
)
from tests.zoo.network import normal, seeded

ELEMENTS = pl.Features.elements()


def of(values):
    """An explanation with these values."""
    model = seeded(nn.Sequential(nn.Flatten(), nn.Linear(values[0].numel(), 2)))
    return model, replace(pl.explain(model, values, "gradient_x_input", target=0), values=values)


def gini(values):
    """Half the mean difference of all pairs, over the mean."""
    sizes = abs(values)
    pairs = [abs(a - b) for a in sizes for b in sizes]
    return np.mean(pairs) / 2 / np.mean(sizes)


TEXTBOOK = {
    Entropy: lambda v: stats.entropy(abs(v)),
    EffectiveFeatures: lambda v: math.exp(stats.entropy(abs(v))),
    Sparseness: gini,
}


def follows_textbook(metric, textbook):
    values = normal(4, 9)
    values[1, :5] = 0
    model, found = of(values)
    expected = [textbook(row.numpy()) for row in values]
    assert_close(metric(model, found).values, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("metric", TEXTBOOK)
def test_they_are_those_of_the_textbook(metric):
    follows_textbook(metric(features=ELEMENTS), TEXTBOOK[metric])


@dataclass(frozen=True, kw_only=True)
class Unsorted(Sparseness):
    """Players in their own order."""

    def of(self, shares, counts):
        places = torch.arange(shares.shape[1], 0, -1).to(shares) - 0.5
        return 1 - 2 * (shares * places).sum(1) / shares.shape[1]


@dataclass(frozen=True, kw_only=True)
class InBits(Entropy):
    """Another unit."""

    def of(self, shares, counts):
        return super().of(shares, counts) / math.log(2)


@pytest.mark.parametrize(("broken", "textbook"), [(Unsorted, gini), (InBits, TEXTBOOK[Entropy])])
def test_a_broken_metric_is_seen(broken, textbook):
    with pytest.raises(AssertionError):
        follows_textbook(broken(features=ELEMENTS), textbook)


@pytest.mark.parametrize(
    ("metric", "one", "even"),
    [(Entropy, 0.0, math.log(6)), (EffectiveFeatures, 1.0, 6.0), (Sparseness, 5 / 6, 0.0)],
)
def test_from_one_feature_to_all_alike(metric, one, even):
    values = torch.stack([torch.eye(6)[2] * -3, torch.full((6,), 0.2), torch.zeros(6)]).double()
    model, found = of(values)
    measured = metric()(model, found)
    expected = torch.tensor([one, even, torch.nan], dtype=torch.float64)
    assert_close(measured.values, expected, equal_nan=True)
    assert measured.notes == ("Maps of 1 of 3 samples are zero everywhere.",)


def test_players_that_a_sample_has_not_do_not_count():
    """The index among three players is that of three, where another sample has five."""
    labels = torch.tensor([[0, 1, 2, -1, -1], [0, 1, 2, 3, 4]])
    values = torch.tensor([[1.0, 2.0, 6.0, 9.0, 9.0], [1.0, 1.0, 1.0, 1.0, 1.0]]).double()
    model, found = of(values)
    (measured, even) = Sparseness(features=labels)(model, found).values.tolist()
    assert measured == pytest.approx(gini(np.array([1.0, 2.0, 6.0])))
    assert even == pytest.approx(0)


def png(values):
    """The size of one map of shape (height, width), by itself."""
    grays = np.array(
        [[128 + round(127 * v / abs(values).max()) for v in row] for row in values], dtype=np.uint8
    )
    file = io.BytesIO()
    Image.fromarray(grays).save(file, "PNG", optimize=True)
    return len(file.getvalue())


def test_the_size_of_the_picture():
    values = normal(2, 3, 16, 16)
    values[1] = values[1, :, :1]  # lines of a kind
    model, found = of(values)
    measured = CompressedSize()(model, found).values
    assert measured.tolist() == [png(each.sum(0).numpy()) for each in values]
    assert measured[1] < measured[0]
    assert CompressedSize()(*of(values * 7)).values.tolist() == measured.tolist()


def test_a_picture_of_zeros_is_small_and_signals_and_tables_are_rows():
    model, found = of(torch.zeros(1, 3, 16, 16).double())
    assert float(CompressedSize()(model, found).values) < 100
    for shape in ((2, 3, 40), (2, 40)):
        values = normal(*shape)
        expected = [png(each.reshape(-1, 40).numpy()) for each in values]
        assert CompressedSize()(*of(values)).values.tolist() == expected


def test_the_residual_is_that_of_the_explanation():
    model, x = seeded(nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2))), normal(3, 5)
    rivals = [
        pl.explain(model, x, pl.IntegratedGradients(steps=2), target=0, on_incomplete="ignore"),
        pl.explain(model, x, "saliency", target=0),
    ]
    found, none = pl.evaluate.measure(model, rivals, "incompleteness")
    scores = model(x)[:, 0] - model(torch.zeros(1, 5).double())[:, 0]
    expected = ((rivals[0].values.sum(1) - scores) / scores).abs().detach()
    assert_close(found.values, expected)
    assert bool(none.values.isnan().all())
    assert none.notes == ("saliency does not claim to add up to anything.",)
    assert found.evaluations.forward == 0
    half = replace(rivals[0], completeness=replace(rivals[0].completeness, expected=2 * scores))
    with pytest.raises(AssertionError):
        assert_close(Incompleteness()(model, half).values, expected)
