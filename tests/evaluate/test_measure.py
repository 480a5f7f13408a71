"""What is given to `measure`, what may be read of a class, and the interval of a mean."""

import dataclasses

import numpy as np
import pytest
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.evaluate import ROAD, Deletion, Measurement, measure
from tests.zoo.network import normal, seeded


def perceptron(classes=3):
    return seeded(nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, classes))).eval()


MODEL, X = perceptron(), normal(4, 6, seed=5)


def found():
    return pl.explain(MODEL, X, "gradient_x_input", target=1)


# ------------------------------------------------------------------------------------ what is given


@pytest.mark.parametrize(
    "labels",
    [
        ["cat", "dog", "cat", "dog"],
        [0, None, 1, 2],
        [[0], [1, 2], [0], [1]],
        np.array(list("abcd")),
    ],
)
def test_labels_must_be_numbers(labels):
    with pytest.raises(InputError, match="`labels` must be 4 whole numbers, one a sample") as info:
        measure(MODEL, found(), "effective_features", labels=labels)
    assert "The class of a name is its place" in str(info.value)


def test_labels_of_a_data_frame_do():
    pandas = pytest.importorskip("pandas")
    labels = pandas.Series([0, 1, 2, 1], index=[7, 8, 9, 10])
    [got] = measure(MODEL, found(), "effective_features", labels=labels)
    assert len(got) == 4


@pytest.mark.parametrize("metrics", [None, 3, []])
def test_metrics_must_be_some(metrics):
    with pytest.raises(InputError, match="`metrics` must hold at least one metric"):
        measure(MODEL, found(), metrics)


def test_values_must_be_those_of_all_samples():
    few = dataclasses.replace(found(), values=found().values[:2])
    with pytest.raises(InputError, match="those of 4 samples, as the scores are; got 2 samples"):
        measure(MODEL, few, "aopc")


# ------------------------------------------------------------------------- what is read of a class


@pytest.mark.parametrize("kind", ["probability", "log_odds", "margin"])
def test_what_is_read_of_a_class_does_not_depend_on_what_of_it_was_explained(kind):
    asked = [Deletion(), ROAD(baseline=0.0, features=None)]
    of_score = found()
    other = pl.explain(MODEL, X, "gradient_x_input", target=getattr(pl.Target, kind)(1))
    other = dataclasses.replace(other, values=of_score.values)  # the same order
    for a, b in zip(measure(MODEL, of_score, asked), measure(MODEL, other, asked), strict=True):
        assert_close(a.values, b.values)
        for name in a.curves:
            assert_close(a.curves[name].y, b.curves[name].y)


@pytest.mark.parametrize("metric", [Deletion(), ROAD(baseline=0.0, features=None)])
def test_one_score_is_no_class(metric):
    model = perceptron(1)
    one = pl.explain(model, X, "gradient_x_input")
    with pytest.raises(InputError, match="must be a class where its") as info:
        metric(model, one)
    assert "one score a sample" in str(info.value)
    assert 'Ask for scale="score" of a metric that has a scale' in str(info.value)
    assert bool(Deletion(scale="score")(model, one).values.isfinite().all())


# ---------------------------------------------------------------------------------------- intervals


def measured(values):
    return Measurement(metric=Deletion(), method=pl.Saliency(), values=values)


def test_the_interval_is_that_of_the_mean():
    values = normal(900, seed=2)
    low, high = measured(values).interval()
    error = float(values.std()) / 30
    assert low == pytest.approx(float(values.mean()) - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(float(values.mean()) + 1.96 * error, abs=0.15 * error)


@pytest.mark.parametrize("level", [0, 1.5, "high"])
def test_a_level_is_a_probability(level):
    with pytest.raises(InputError, match="`level` must be a probability"):
        measured(normal(9)).interval(level)
